"""The command line. Nothing heavy is imported before it is known what is wanted."""

import importlib
import importlib.util
import io
import os
import pkgutil
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict

from limner.batch import Options
from limner.errors import LimnerError
from limner.gallery import Tier
from limner.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from limner.prepare import Progress, Summary

app = App(
    name="limner",
    help="Turns photographs into paintings, and trains new styles.",
    version=__version__,
    help_format="markdown",
    default_parameter=Parameter(negative=()),
)
TRAIN_HELP = """Train a style of your own.

`limner train METHOD ...` starts a run, `limner train --resume RUN` goes on with one. `--config FILE` takes options from a TOML file (a
recipe, or a run's config.toml) and `--preset NAME` from the method's presets; flags override both.
"""
PREPARE_HELP = """Make pictures ready for training, once: scaled down, cut to squares, without near-duplicates.

From any mix of folders, films, .tar shards and .npz files. A command that was ended goes on when it is given again.
"""
Flat = Annotated[Options, Parameter(name="*")]


@app.command
def apply(inputs: list[str], *, out: Annotated[str | None, Parameter(alias="-o")] = None, options: Flat = Options()) -> int:  # noqa: B008 (frozen)
    """Paint photographs with a style. A command that was ended goes on when it is given again.

    Parameters
    ----------
    inputs
        Pictures, folders of pictures (searched at any depth), or patterns such as 'photos/**/*.jpg'.
    out
        Where to write: a file for a single picture, else a folder. By default beside the photograph, as photo.starry-night.jpg.
    """
    from limner import batch, progress

    work = batch.open_batch(inputs, out, options, _complain)
    several = len(work.jobs) > 1
    count = {"painted": 0, "skipped": 0, "failed": 0}
    errors = []
    with (
        progress.bar(len(work), "pictures", shown=several) as advance,
        progress.percent(shown=not several) as work.watch,
        closing(iter(work)) as results,
    ):
        try:
            for result in results:
                count[result.outcome] += 1
                if result.outcome != "skipped":
                    advance()
                if result.error is None:
                    _say(str(result.job.target))
                else:
                    errors.append(str(result.error))
                    _complain(errors[-1])
        except KeyboardInterrupt:
            results.close()
            _complain("stopped; what is painted is kept, and the same command goes on.")
            return 130
    if several:
        _complain(", ".join(f"{number:,} {outcome}" for outcome, number in count.items()) + (":" if errors else "."))
        for sentence in errors:
            _complain(sentence)
    return 2 if errors else 0


def _paint_app(rest: list[str]) -> tuple[App, list[str]]:
    """`limner paint`, whose options bring torch along."""
    _need_torch("Painting")
    from limner.methods import gatys
    from limner.training import painting

    paint_app = App(name="limner paint", help_format="markdown", default_parameter=Parameter(negative=()), version_flags=())
    rest, preset = _take(rest, "--preset")

    @paint_app.default
    def paint(
        photo: Path,
        paintings: list[Path],
        *,
        out: Annotated[Path | None, Parameter(alias="-o")] = None,
        config: Annotated[gatys.Config, Parameter(name="*")] = gatys.Config(),  # noqa: B008 (frozen)
        options: Annotated[painting.Options, Parameter(name="*")] = painting.Options(),  # noqa: B008 (frozen)
    ) -> int:
        """Paint a photograph in the style of any painting, slowly and well: Gatys' optimisation. Ctrl-C keeps what there is; the same
        command goes on.

        Parameters
        ----------
        photo
            The photograph.
        paintings
            One or several paintings.
        out
            The picture to write. By default beside the photograph, as photo.NAME-OF-THE-PAINTING.jpg.
        """
        from limner import style

        _log_to_stderr()
        target = out or style.default_output(photo, "+".join(path.stem for path in paintings))
        start = style.load(options.init).paint if options.init else None
        finished = painting.paint(photo, paintings, target, config, options, start)
        _say(str(target))
        return 0 if finished else 130

    if preset is not None:
        paint_app.config = (_as_defaults(_preset(gatys, preset), source=f"preset {preset}"),)
    return paint_app, rest


@app.command
def styles(name: str = "", *, tier: Tier = "standard", names: bool = False) -> int:
    """List the bundled styles and their tiers, or show one style's card.

    Parameters
    ----------
    name
        A bundled style, or a style file.
    tier
        The tier whose card to show.
    names
        Print the names alone, for scripts.
    """
    from limner import card, gallery

    if names:
        _say("\n".join(gallery.names()))
    elif name:
        _show_card(card.read(gallery.find(name, tier)))
    else:
        table = [(style.name, style.title, ", ".join(gallery.tiers(style.name)), style.description) for style in gallery.cards()]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        for row in table:
            _say("  ".join([*(f"{entry:{width}}" for entry, width in zip(row[:3], widths, strict=True)), row[3]]))
    return 0


@app.command
def export(run: Path, *, out: Annotated[Path, Parameter(alias="-o")], checkpoint: Literal["best", "newest"] = "best") -> int:
    """Write the style file of a training run.

    Parameters
    ----------
    run
        The run directory.
    out
        The style file to write, e.g. my-style.onnx.
    checkpoint
        The one with the best held-out number, or the newest.
    """
    _need_torch()
    from limner import training

    _say(str(training.write_style(run, out, which=checkpoint)))
    return 0


def _quantize_app() -> App:
    """`limner quantize`, whose options bring NumPy and Pillow along."""
    from limner import quantize

    application = App(name="limner quantize", help_format="markdown", default_parameter=Parameter(negative=()), version_flags=())

    @application.default
    def command(
        style: str,
        *,
        out: Annotated[Path, Parameter(alias="-o")],
        options: Annotated[quantize.Options, Parameter(name="*")],
    ) -> int:
        """Write the int8 form of a style file: faster on CPUs, and refused where it would paint visibly differently.

        Parameters
        ----------
        style
            A bundled style, or a style file.
        out
            The style file to write: mine.int8.onnx beside mine.onnx becomes its tier int8.
        """
        distance = quantize.quantize(style, out, options)
        _complain(str(distance))
        _say(str(out))
        return 0

    return application


def _prepare_app() -> App:
    """`limner prepare` and its four commands. They bring NumPy and Pillow along, which `limner --help` does without."""
    from limner import prepare
    from limner.prepare import edges

    Paths = list[Path] | None  # noqa: N806 (a type)
    flat = Parameter(name="*")
    application = App(
        name="limner prepare", help=PREPARE_HELP, help_format="markdown", default_parameter=Parameter(negative=()), version_flags=()
    )

    @application.command
    def crops(sources: list[Path], *, options: Annotated[prepare.CropOptions, flat]) -> int:
        """Write pictures as small JPEG files into a folder.

        Parameters
        ----------
        sources
            Folders (searched at any depth), pictures, films, .tar shards, .npz files.
        """
        return _prepare(lambda progress: prepare.crops(sources, options, progress))

    @application.command
    def shards(sources: list[Path], *, options: Annotated[prepare.ShardOptions, flat]) -> int:
        """Write pictures as JPEG files into tar shards, for sets of many thousands (WebDataset's layout).

        Parameters
        ----------
        sources
            Folders (searched at any depth), pictures, films, .tar shards, .npz files.
        """
        return _prepare(lambda progress: prepare.shards(sources, options, progress))

    @application.command
    def npz(sources: Paths = None, *, domain_a: Paths = None, domain_b: Paths = None, options: Annotated[prepare.Options, flat]) -> int:
        """Write pictures as equal squares into one compressed NumPy file, for small sets: an array `images`, or `a` and `b`.

        Parameters
        ----------
        sources
            Folders (searched at any depth), pictures, films, .tar shards, .npz files.
        domain_a
            Instead of these: the first of two domains.
        domain_b
            The second of two domains.
        """
        domains = {"domain_a": domain_a or (), "domain_b": domain_b or ()}
        return _prepare(lambda progress: prepare.npz(sources or (), options, progress, **domains), f" of {options.size} x {options.size}")

    @application.command(name="edges")
    def edge_smoothed(sources: list[Path], *, options: Annotated[edges.EdgeOptions, flat]) -> int:
        """Write cartoons with their edges blurred, as PNG files into a folder: what `limner train cartoongan --edges` takes.

        Parameters
        ----------
        sources
            Folders (searched at any depth), pictures, films, .tar shards, .npz files.
        """
        return _prepare(lambda progress: edges.edges(sources, options, progress))

    return application


def _prepare(work: "Callable[[Progress], Summary]", of_size: str = "") -> int:
    """Do it under a progress bar, and say what became of the pictures."""
    from rich import progress

    columns = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
    console = _stderr()
    with progress.Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", start=False)

        def tell(done: int, total: int) -> None:
            if bar.tasks[0].started:
                bar.update(task, completed=done)
            else:
                bar.reset(task, completed=done, total=total)

        try:
            summary = work(tell)
        except KeyboardInterrupt:
            bar.stop()
            _complain("stopped; go on with the same command.")
            return 130
    for sentence in summary.bad:
        _complain(sentence)
    places = {name: "" if name == "images" else f" in {name}" for name in summary.written}
    written = " and ".join(f"{count:,} pictures{of_size}{places[name]}" for name, count in summary.written.items())
    _say(f"{summary.out}: {written} written, {summary.near:,} near-duplicates dropped, {len(summary.bad):,} could not be used.")
    return 0


def _train_app(rest: list[str]) -> tuple[App, list[str]]:
    """`limner train` with one command for each method. ``--config`` and ``--preset`` become defaults that flags override."""
    train = App(name="limner train", help=TRAIN_HELP, help_format="markdown", default_parameter=Parameter(negative=()), version_flags=())
    rest, config = _take(rest, "--config")
    rest, preset = _take(rest, "--preset")
    defaults: dict[str, Any] = {}
    if preset is not None and config is None and (not rest or rest[0].startswith("-")):
        raise LimnerError(f"--preset {preset} needs a method: `limner train fast-style --preset {preset} ...`.")
    if config is not None:
        defaults = _read_config(Path(config))
        method = str(defaults.pop("method", "")).replace("_", "-")
        if not rest or rest[0].startswith("-"):
            rest = [method, *rest]
    chosen = rest[0] if rest else ""
    for method in method_names():
        name = method.replace("_", "-")
        if name == chosen:  # only the chosen one is imported: it brings torch along
            _need_torch()
            module = importlib.import_module(f"limner.methods.{method}")
            if preset is not None:
                defaults = {**defaults, **_preset(module, preset)}
            train.command(_train_command(method, module), name=name)
            if defaults:
                train[name].config = (_as_defaults(defaults, source=config or f"preset {preset}"),)
        else:
            train.command(lambda: 0, name=name, help=f"Train with the method {name}: `limner train {name} --help` lists its options.")
    return train, rest


def _train_command(method: str, module: Any) -> Callable[..., int]:
    from limner.training import Options as RunOptions

    def command(*, config, options) -> int:  # type: ignore[no-untyped-def]
        from limner import training

        return _train(training, method, config, options)

    command.__doc__ = (module.__doc__ or "").split("\n\n")[0]
    command.__annotations__ = {
        "config": Annotated[module.Config, Parameter(name="*")],
        "options": Annotated[RunOptions, Parameter(name="*")],
        "return": int,
    }
    return command


def _train(training: Any, method: str, config: Any, options: Any, *, resume: bool = False) -> int:
    _log_to_stderr()
    path = training.train(method, config, options, resume=resume)
    if path is None:
        return 130
    if os.environ.get("RANK", "0") == "0":  # of several processes (torchrun), the first one speaks
        _say(str(path))
    return 0


def _resume(folder: Path) -> int:
    _need_torch()
    from limner import training

    method, config, options = training.load(folder)
    return _train(training, method, config, options, resume=True)


def _preset(module: Any, preset: str) -> dict[str, Any]:
    presets: dict[str, dict[str, Any]] = module.Config.PRESETS
    if preset not in presets:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        raise LimnerError(f"{name} has no preset {preset!r}: there is {', '.join(presets)}.")
    return presets[preset]


def _as_defaults(table: dict[str, Any], *, source: str) -> Dict:
    """Options as defaults that flags override."""
    return Dict({key.replace("_", "-"): value for key, value in table.items()}, use_commands_as_keys=False, source=source)


def method_names() -> list[str]:
    """Names of the modules in ``limner.methods`` that train, found without importing them."""
    folder = Path(__file__).parent / "methods"
    names = sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
    return [name for name in names if "\ndef train(" in (folder / f"{name}.py").read_text(encoding="utf-8")]


def _take(words: list[str], flag: str) -> tuple[list[str], str | None]:
    """``words`` without ``flag VALUE`` (or ``flag=VALUE``), and the value."""
    for i, word in enumerate(words):
        if word == flag:
            if i + 1 == len(words):
                raise LimnerError(f"{flag} needs a value.")
            return words[:i] + words[i + 2 :], words[i + 1]
        if word.startswith(flag + "="):
            return words[:i] + words[i + 1 :], word.removeprefix(flag + "=")
    return words, None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LimnerError(f"The configuration {path} cannot be read ({error.strerror}): name a file that is there.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LimnerError(f"The configuration {path} is not TOML: {error}.") from error


def _show_card(card: Any) -> None:
    _say(f"{card.title} ({card.name})")
    if card.description:
        _say(card.description)
    facts = {
        "tier": card.tier,
        "method": card.method.replace("_", "-"),
        "teacher": card.teacher,
        "int8": card.quantized,
        "licence": card.licence,
        "authors": card.authors,
        "trained on": "\n".join(card.trained_on),
        "steps": f"{card.steps:,}",
        "recipe": card.recipe,
        "parameters": f"{card.parameters:,}",
        "best short side": f"{card.best_short_side} px",
        "receptive field": f"{card.receptive_field} px",
        "weights sha256": card.weights_sha256,
        "limner": card.limner_version,
    }
    for name, value in facts.items():
        if value:
            _say(f"  {name:16}" + value.replace("\n", "\n" + 18 * " "))


def _need_torch(what: str = "Training") -> None:
    packages = ("torch", "accelerate", "safetensors", "onnx", "onnxscript", "tomli_w", "psutil", "jinja2")
    if any(importlib.util.find_spec(package) is None for package in packages):
        raise LimnerError(f"{what} needs the extra packages of limner[train]: pip install 'limner[train]'.")


def _log_to_stderr() -> None:
    import logging

    from rich.logging import RichHandler

    from limner.training.terminal import console

    plain: dict[str, Any] = {"show_time": True, "show_level": False, "show_path": False, "markup": False, "highlighter": None}
    logger = logging.getLogger("limner")
    logger.setLevel(logging.INFO)
    logger.handlers = [RichHandler(console=console, **plain)]


def _stderr() -> "Console":
    from rich.console import Console

    return Console(stderr=True)


def _say(text: str) -> None:
    print(text)


def _complain(sentence: str) -> None:
    print(f"limner: {sentence}", file=sys.stderr)


def main(words: list[str] | None = None) -> None:
    """The console script: exit code 0, 2 after bad input (told in one sentence each), 130 after Ctrl-C."""
    words = sys.argv[1:] if words is None else words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name that the terminal cannot show ends nothing
    try:
        sys.exit(_dispatch(words))
    except LimnerError as error:
        _complain(str(error))
    except CycloptsError as error:
        _complain(" ".join(str(error).split()) + " (`limner --help` tells more.)")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output (`| head`) has gone; Python must not try to write the rest of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(2)


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["train"]:
        rest, folder = _take(words[1:], "--resume")
        if folder is not None:
            if rest:
                raise LimnerError(f"--resume goes on with the run's own options: leave {' '.join(rest)} out.")
            return _resume(Path(folder))
        train, rest = _train_app(rest)
        return _call(train, rest)
    if words[:1] == ["prepare"]:
        return _call(_prepare_app(), words[1:])
    if words[:1] == ["paint"]:
        paint, rest = _paint_app(words[1:])
        return _call(paint, rest)
    if words[:1] == ["quantize"]:
        return _call(_quantize_app(), words[1:])
    return _call(app, words)


def _call(application: App, words: list[str]) -> int:
    result = application(words, exit_on_error=False, print_error=False, result_action="return_value")
    return result if isinstance(result, int) else 0


@app.command(name="prepare", help="Make pictures ready for training: as small files, tar shards or one .npz.")
@app.command(name="paint", help="Paint a photograph in the style of any painting, slowly and well.")
@app.command(name="quantize", help="Write the int8 form of a style file, faster on CPUs.")
@app.command(name="train", help="Train a style of your own: `limner train --help` lists the methods.")
def _listed() -> int:
    """Only for the list of commands: ``_dispatch`` takes these four before it comes here."""
    return 0
