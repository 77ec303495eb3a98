"""Training: a method, its options and a run directory in; a style file out."""

import hashlib
import json
import logging
import os
import re
import tomllib
from contextlib import suppress
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import tomli_w

from limner import files, limits
from limner.errors import LimnerError
from limner.files import clear_leftovers, replacing
from limner.methods import contract
from limner.training import checkpoint, export
from limner.training.options import Options
from limner.training.run import Run

__all__ = ["Options", "best_short_side", "load", "recipe_sha256", "train", "write_style"]

logger = logging.getLogger("limner")

CONFIG = "config.toml"


def train(method: str, config: Any, options: Options, *, resume: bool = False) -> Path | None:
    """Train a style; returns the style file, or None where Ctrl-C ended the run early (its state is saved).

    ``method`` is a module of ``limner.methods``, ``config`` its ``Config``. With ``resume`` the run goes on from its newest checkpoint.
    Raises ``LimnerError`` where an input is bad or ``options.out`` already holds a run.
    """
    if os.environ.get("RANK", "0") != "0":  # of several processes (torchrun), the first one holds the folder for all
        return _train(method, config, options, resume)
    with files.holding(options.out, f"Another Limner is training in {options.out}: wait until it is done, or name another `out`."):
        return _train(method, config, options, resume)


def _train(method: str, config: Any, options: Options, resume: bool) -> Path | None:
    module = contract.find(method)
    recipe = recipe_sha256(method, config, options.seed)
    preview_side = best_short_side(method, config, options)
    run = Run(options, steps=config.steps, recipe=recipe, preview_side=preview_side, styles=_styles(module))
    main = run.accelerator.is_main_process
    if main:
        _begin(method, config, options, resume)
    try:
        run.accelerator.wait_for_everyone()
        module.train(config, run)
        if main and not run.interrupted:
            write_style(options.out, options.out / "style.onnx")
    except BaseException:
        if main and not resume:
            _forget_unless_begun(options.out)
        raise
    finally:
        run.end()
    if run.skipped:
        logger.warning("%d pictures were skipped:\n  %s", len(run.skipped), "\n  ".join(run.skipped))
    if run.interrupted:
        logger.info("stopped at step %d; go on with: limner train --resume %s", run.done, options.out)
        return None
    return options.out / "style.onnx"


def load(folder: Path) -> tuple[str, Any, Options]:
    """(method, config, options) of the run in ``folder``. Raises ``LimnerError`` where there is none."""
    path = folder / CONFIG
    if not path.is_file():
        raise LimnerError(f"{folder} holds no run (there is no {CONFIG} in it): name the `out` directory of a training.")
    try:
        table = tomllib.loads(limits.read_text(path))
        module = contract.find(table["method"])
        options = _fill(Options, {**table, "out": str(folder)})
        return table["method"], _fill(module.Config, table), options
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ModuleNotFoundError) as error:
        raise LimnerError(f"{path} is not the configuration of a run ({error}): put the original back, or start a new run.") from error


def write_style(folder: Path, path: Path, *, which: str = "best", compact: bool = False) -> Path:
    """Write the style file of the run in ``folder`` from its ``best`` checkpoint, by the held-out number, or its ``newest``.

    Where nothing was held out, the newest is the best. A ``compact`` file holds most weights in eight bits. A method with several
    ``STYLES`` writes as many files; the first is returned. Raises ``LimnerError`` where there is none.
    """
    method, config, options = load(folder)
    state = checkpoint.load(folder / "checkpoints", which) or checkpoint.load(folder / "checkpoints")
    if state is None:
        raise LimnerError(f"{folder} has no checkpoint yet: train on with `limner train --resume {folder}`.")
    module = contract.find(method)
    for part, ending in _styles(module).items():
        network = module.build(config)
        # The averaged weights are the style: see Run.average.
        weights = {name.removeprefix("module."): value for name, value in state["parts"][part].items() if name != "n_averaged"}
        network.load_state_dict(weights)
        _export(network, method, config, options, state["step"], path.with_stem(path.stem + ending), ending, compact=compact)
    return path


def _export(network: Any, method: str, config: Any, options: Options, step: int, path: Path, ending: str, *, compact: bool) -> None:
    name = options.name or re.sub(r"[^a-z0-9]+", "-", options.out.resolve().name.lower()).strip("-") or "style"
    about = {
        "name": name + ending,
        "title": (options.title or name.replace("-", " ").capitalize()) + ending.replace("-", ", "),
        "method": method,
        "best_short_side": best_short_side(method, config, options),
        "working_size": getattr(config, "working_size", 0),
        "licence": options.licence,
        "authors": options.authors,
        "description": options.description,
        "trained_on": list(options.trained_on),
        "steps": step,
        "recipe": options.recipe,
        "recipe_sha256": recipe_sha256(method, config, options.seed),
        **_told_by_method(method, config, options),
    }
    export.write(network, about, path, compact=compact, tell=partial(_record, options.out / f"parity{ending}.json"))
    logger.info("style file: %s", path)


def best_short_side(method: str, config: Any, options: Options) -> int:
    """Short side of pictures that suit the style: as the method or its options say, else that of pictures as its crops show them."""
    said = _told_by_method(method, config, options).get("best_short_side")
    said = said or getattr(config, "working_size", 0) or getattr(config, "style_size", 0)
    scales = [getattr(config, name, None) or 1.0 for name in ("min_scale", "max_scale")]
    return int(said or round(config.image_size / (sum(scales) / 2)))


def _record(path: Path, differences: dict[str, Any]) -> None:
    with replacing(path) as beside:
        beside.write_text(json.dumps(differences, indent=1) + "\n", encoding="utf-8")


def _told_by_method(method: str, config: Any, options: Options) -> dict[str, Any]:
    """Entries of the card that the method knows by itself (``about``); those that the options name are theirs."""
    found = contract.find(method).about(config) if hasattr(contract.find(method), "about") else {}
    return {name: value for name, value in found.items() if not getattr(options, name, "")}


def recipe_sha256(method: str, config: Any, seed: int) -> str:
    """Hash of every option that shapes the weights. Paths are left out: what lies there is told in the card's ``trained_on``; so is the
    style to ``start`` from, a path or a name.

    So are options that came ``LATER``, where they are at the value that changes nothing: older recipes keep their hashes.
    """
    later = getattr(config, "LATER", {})
    table = {
        name: value
        for name, value in asdict(config).items()
        if not isinstance(value, Path) and name != "start" and not (name in later and value == later[name])
    }
    return hashlib.sha256(json.dumps({"method": method, "seed": seed, **table}, sort_keys=True).encode()).hexdigest()


def _styles(module: ModuleType) -> dict[str, str]:
    """The averages that become style files, and how the names of the files end."""
    styles: dict[str, str] = getattr(module, "STYLES", {"average": ""})
    return styles


def _begin(method: str, config: Any, options: Options, resume: bool) -> None:
    """Check the inputs, write the configuration of a new run, and sweep up what a killed one was writing."""
    if resume:
        _check_inputs(config, options, f"put it back, or change {options.out / CONFIG}")
        clear_leftovers((options.out, options.out / "checkpoints", options.out / "samples"))
        return
    _check_inputs(config, options, "check the path")
    if (options.out / CONFIG).exists() or (options.out / "checkpoints").exists():
        raise LimnerError(f"{options.out} already holds a run: go on with `limner train --resume {options.out}`, or name another `out`.")
    _write(method, config, options)


def _check_inputs(config: Any, options: Options, way_out: str) -> None:
    """Say at once, not after an hour, that something named is not there."""
    for part in (config, options):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, Path) and field.name != "out" and not value.exists():
                raise LimnerError(f"There is no {value}, named by `{field.name}`: {way_out}.")


def _forget_unless_begun(folder: Path) -> None:
    """A run that failed before it began leaves nothing in the way of the next try."""
    if not (folder / "data.json").exists():  # the first that a run writes when its steps begin
        (folder / CONFIG).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: it was there before
            folder.rmdir()


def _write(method: str, config: Any, options: Options) -> None:
    """The resolved configuration, as a file that ``--config`` takes."""
    table = {"method": method, **asdict(config), **asdict(options)}
    del table["out"]
    plain = {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in table.items() if value is not None}
    with replacing(options.out / CONFIG) as beside:
        beside.write_text(tomli_w.dumps(plain), encoding="utf-8")


def _fill(cls: Any, table: dict[str, Any]) -> Any:
    """A dataclass of options from the entries of a TOML table that it knows."""
    hints = get_type_hints(cls)
    values = {}
    for field in fields(cls):
        if field.name in table:
            value, hint = table[field.name], hints[field.name]
            if hint in (Path, Path | None):
                value = Path(value)
            elif isinstance(value, list):
                value = tuple(value)
            values[field.name] = value
    return cls(**values)
