"""`limner train`: a command for each method."""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from limner import extras, files, limits
from limner.cli.application import Words, application, as_defaults, call, preset, take
from limner.cli.console import log_to_stderr, say
from limner.errors import LimnerError
from limner.methods import contract

HELP = """Train a style of your own.

`limner train METHOD ...` starts a run, `limner train --resume RUN` goes on with one. `--config FILE` takes options from a TOML file (a
recipe, or a run's config.toml) and `--preset NAME` from the method's presets; flags override both.
"""


def run(*words: Words) -> int:
    rest, folder = take(words, "--resume")
    if folder is not None:
        if rest:
            raise LimnerError(f"--resume goes on with the run's own options: leave {' '.join(rest)} out.")
        return _resume(Path(folder))
    return call(*_application(rest))


def _application(words: list[str]) -> tuple[App, list[str]]:
    """With one command for each method. ``--config`` and ``--preset`` become defaults that flags override."""
    app = application("limner train", HELP)
    rest, config = take(words, "--config")
    rest, chosen_preset = take(rest, "--preset")
    defaults: dict[str, Any] = {}
    if chosen_preset is not None and config is None and (not rest or rest[0].startswith("-")):
        raise LimnerError(f"--preset {chosen_preset} needs a method: `limner train fast-style --preset {chosen_preset} ...`.")
    if config is not None:
        defaults = _read_config(Path(config))
        method = str(defaults.pop("method", "")).replace("_", "-")
        if not rest or rest[0].startswith("-"):
            rest = [method, *rest]
    chosen = rest[0] if rest else ""
    for method in contract.names():
        name = contract.shown(method)
        if name == chosen:  # only the chosen one is imported: it brings torch along
            extras.need("train", "Training")
            module = contract.find(method)
            if chosen_preset is not None:
                defaults = {**defaults, **preset(module, chosen_preset)}
            app.command(_command(method, module), name=name)
            if defaults:
                app[name].config = (as_defaults(defaults, source=config or f"preset {chosen_preset}"),)
        else:
            app.command(lambda: 0, name=name, help=f"Train with the method {name}: `limner train {name} --help` lists its options.")
    return app, rest


def _command(method: str, module: Any) -> Callable[..., int]:
    from limner.training.options import Options as RunOptions

    def command(*, config, options) -> int:  # type: ignore[no-untyped-def]
        return _train(method, config, options)

    command.__doc__ = (module.__doc__ or "").split("\n\n")[0]
    command.__annotations__ = {
        "config": Annotated[module.Config, Parameter(name="*")],
        "options": Annotated[RunOptions, Parameter(name="*")],
        "return": int,
    }
    return command


def _train(method: str, config: Any, options: Any, *, resume: bool = False) -> int:
    from limner.training import trainer

    log_to_stderr()
    path = trainer.train(method, config, options, resume=resume)
    if path is None:
        return 130
    if os.environ.get("RANK", "0") == "0":  # of several processes (torchrun), the first one speaks
        say(str(path))
    return 0


def _resume(folder: Path) -> int:
    extras.need("train", "Training")
    if (folder / "config.toml").is_file() and os.environ.get("RANK", "0") == "0":
        # At once, before torch is imported: of two that are started together, the first one trains.
        with files.holding(folder, f"Another Limner is training in {folder}: wait until it is done."):
            return _resume_held(folder)
    return _resume_held(folder)


def _resume_held(folder: Path) -> int:
    from limner.training import trainer

    method, config, options = trainer.load(folder)
    return _train(method, config, options, resume=True)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(limits.read_text(path))
    except OSError as error:
        raise LimnerError(f"The configuration {path} cannot be read ({error.strerror}): name a file that is there.") from error
    except (ValueError, RecursionError) as error:
        raise LimnerError(f"The configuration {path} is not TOML: {error}.") from error
