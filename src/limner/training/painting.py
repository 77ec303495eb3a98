"""Around a method that paints a single picture: its inputs, device, memory, time, progress, preview, and going on after a stop."""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from limner import blend, features, image
from limner.errors import LimnerError, require
from limner.files import replacing
from limner.methods import gatys
from limner.training import terminal
from limner.training.run import has_fast_bf16, keep_large_blocks

logger = logging.getLogger("limner")

SAVE_EVERY = 60.0
"""Seconds between the states that a killed program can go on from."""


@dataclass(frozen=True)
class Options:
    """Options of ``limner paint`` that are no matter of the method."""

    init: str = ""
    """Begin with what this style (see `limner styles`, or a style file) makes of the photograph, not with the photograph."""
    masks: tuple[Path, ...] = ()
    """A picture for each painting, white where the painting's style belongs, black where not, as large as the photograph or not."""
    keep_colors: bool = False
    """Keep the photograph's own colours under the painting's strokes."""
    time_budget: str = ""
    """Finish in about this time, such as 60s, 10m or 1h, with fewer iterations at each scale."""
    max_memory: float = 0.0
    """Gigabytes to get along with; by default four fifths of what is free."""
    preview_every: float = 10.0
    """Seconds between previews (photo.starry-night.preview.jpg, beside the picture); 0 writes none."""
    overwrite: bool = False
    """Paint again, from the beginning, what is there already."""
    strip: bool = False
    """Write no metadata (camera, place, time, colour profile)."""
    quality: int = 95
    """Quality of JPEG, WebP and AVIF, from 1 to 100."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to paint; auto takes a GPU where there is one."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """Number format of the features; auto takes bf16 where the hardware has it. Sums over the picture are float32 always."""

    def __post_init__(self) -> None:
        require(self.max_memory >= 0, f"--max-memory must not be negative, as {self.max_memory:g} is.")
        require(self.preview_every >= 0, f"--preview-every must not be negative, as {self.preview_every:g} is.")
        self.seconds()

    def seconds(self) -> float:
        """The time budget; infinite where there is none."""
        if not self.time_budget:
            return float("inf")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", self.time_budget)
        require(match is not None, f"--time-budget must be like 60s, 10m or 1h, not {self.time_budget!r}.")
        assert match is not None
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def paint(
    photo: Path, paintings: Sequence[Path], out: Path, config: gatys.Config, options: Options, start: image.Picture | None = None
) -> bool:
    """Paint ``photo`` in the style of ``paintings`` into the file ``out``. Returns False where Ctrl-C ended it early: what there is then is
    written all the same, and the same call goes on.

    ``start`` is the first picture, where it is not the photograph. Raises ``LimnerError`` for bad inputs.
    """
    given, wanted = len(config.style_weights), len(paintings)
    require(wanted >= 1, "Name at least one painting after the photograph.")
    require(given in (0, wanted), f"--style-weights needs one number for each of the {wanted} paintings, not {given}.")
    require(len(options.masks) in (0, wanted), f"--masks needs one picture for each of the {wanted} paintings, not {len(options.masks)}.")
    require(out.suffix.lower() in image.WRITABLE, f"{out} has no ending of a picture that can be written: name it .jpg, .png or .tif.")
    original = image.read(photo)
    whole = original if config.size == 0 else image.fit(original, config.size)
    read = {path: image.read(path) for path in (*paintings, *options.masks)}
    easel = Easel(out, options, recipe=_recipe(config, options, [photo, *paintings, *options.masks]))
    styles, masks = [easel.tensor(read[path]) for path in paintings], [easel.tensor(read[path])[:, :1] for path in options.masks]
    first = None if start is None else easel.tensor(start)

    def finished(painted: Tensor) -> image.Picture:
        pixels = painted.cpu().numpy()
        if options.keep_colors:
            pair = [batch[0].transpose(1, 2, 0) for batch in (image.to_float(whole.pixels), pixels)]
            pixels = blend.keep_colors(*pair).transpose(2, 0, 1)[None]
        return whole.with_pixels(image.from_float(pixels, whole.pixels.dtype))

    painted = gatys.stylize(easel.tensor(whole), styles, config, easel, start=first, masks=masks)
    image.write(finished(painted), out, strip=options.strip, quality=options.quality)
    easel.end()
    return not easel.interrupted


class Easel:
    """What ``limner.methods.Easel`` promises. Unfinished work lies beside ``out``, in a file named ``out``.unfinished."""

    def __init__(self, out: Path, options: Options, recipe: str = "") -> None:
        self.out, self.options, self.recipe = out, options, recipe
        require(
            options.device != "gpu" or torch.cuda.is_available(),
            "torch finds no GPU here: install a build for yours, or leave --device out.",
        )
        self.device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
        self.bf16 = options.precision == "bf16" or (options.precision == "auto" and has_fast_bf16(self.device))
        self.unfinished, self.preview = out.with_name(f"{out.name}.unfinished"), out.with_name(f"{out.stem}.preview.jpg")
        self.done, self.interrupted, self._canvas = 0, False, None
        self._seconds, self._credit = 0.0, 0.0
        if options.overwrite:
            self.unfinished.unlink(missing_ok=True)
        elif out.exists() and not self.unfinished.exists():
            raise LimnerError(f"{out} is there already: give --overwrite to paint it again, or another name with -o.")
        keep_large_blocks()

    def tensor(self, picture: image.Picture) -> Tensor:
        return torch.from_numpy(image.to_float(picture.pixels)).to(self.device)

    # What a method asks for.

    def place(self, module: Any) -> Any:
        return module.to(self.device, memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def sparing(self, layers: Sequence[str], size: tuple[int, int]) -> bool:
        allowed = self.options.max_memory * 1e9 or 0.8 * self._free()
        whole, spared = (features.memory(layers, size, bytes_each=2 if self.bf16 else 4, sparing=sparing) for sparing in (False, True))
        needed = whole if whole <= allowed else spared
        logger.info(
            "%d x %d pixels: about %.1f GB of memory%s", size[1], size[0], needed / 1e9, "" if needed == whole else ", at the price of time"
        )
        if spared > allowed:
            longer = int(max(size) * (allowed / spared) ** 0.5)
            raise LimnerError(
                f"{self.out} at {size[1]} x {size[0]} pixels needs about {spared / 1e9:.1f} GB of memory, and {allowed / 1e9:.1f} GB "
                f"are allowed: paint it smaller, with --size {longer}, or give more with --max-memory."
            )
        return needed != whole

    def keep(self, canvas: Any) -> None:
        self._canvas = canvas
        if not self.unfinished.exists():
            return
        try:
            state = torch.load(self.unfinished, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file shows itself in many ways
            raise LimnerError(f"{self.unfinished} is damaged: delete it, or begin again with --overwrite.") from error
        if state["recipe"] != self.recipe:
            raise LimnerError(f"{self.unfinished} was begun with other pictures or options: give those, or begin again with --overwrite.")
        canvas.load_state_dict(state["canvas"])
        self.done, self._seconds, self._credit = state["done"], state["seconds"], state["credit"]
        logger.info("going on with %s", self.unfinished)

    def steps(self, costs: Sequence[float]) -> Iterator[int]:
        whole, spent, saved = sum(costs), 0.0, time.monotonic()
        began, before, self._previewed = time.monotonic(), self._seconds, 0.0
        columns = (TextColumn("painting"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[losses]}"), TimeElapsedColumn())
        console = terminal.console
        with (
            terminal.interrupts() as asked_to_stop,
            Progress(
                *columns, TextColumn("ETA"), TimeRemainingColumn(compact=True), console=console, disable=not console.is_terminal
            ) as bar,
        ):
            task = bar.add_task("", total=whole, losses="")
            for step in range(self.done, len(costs)):
                now = time.monotonic()
                left = sum(costs[step:])
                self._seconds = before + now - began
                self._credit += _share(left, self.options.seconds() - self._seconds, (now - began) / spent if spent else 0.0)
                self.done = step + 1
                if self._credit >= 1 or step == 0:
                    self._credit = max(self._credit - 1, 0.0)
                    self._losses: dict[str, Tensor] = {}
                    yield step
                    spent += costs[step]
                    if step % 10 == 0:
                        words = " ".join(f"{name} {loss.item():.4f}" for name, loss in self._losses.items())
                        bar.update(task, completed=whole - left, losses=words)
                        if bar.disable and step % 100 == 0:
                            logger.info("step %d of %d: %s", step, len(costs), words)
                if asked_to_stop.is_set() and step + 1 < len(costs):
                    self.interrupted = True
                    break
                if time.monotonic() - saved > SAVE_EVERY:
                    self._save()
                    saved = time.monotonic()
        if self.interrupted:
            self._save()

    def show(self, painted: Callable[[], Tensor], losses: dict[str, Tensor]) -> None:
        self._losses = losses
        every, now = self.options.preview_every, time.monotonic()
        if every and now - self._previewed > every:
            self._previewed = now
            pixels = image.from_float(painted().cpu().numpy(), "uint8")
            image.write(image.Picture(pixels), self.preview, quality=90)

    def end(self) -> None:
        """The picture is written: what served on the way there goes, unless it is to go on."""
        self.preview.unlink(missing_ok=True)
        if not self.interrupted:
            self.unfinished.unlink(missing_ok=True)

    # How it is done.

    def _save(self) -> None:
        state = {"recipe": self.recipe, "canvas": self._canvas.state_dict(), "done": self.done}  # type: ignore[attr-defined]
        with replacing(self.unfinished) as beside:
            torch.save({**state, "seconds": self._seconds, "credit": self._credit}, beside)

    def _free(self) -> float:
        if self.device.type == "cuda":
            return float(torch.cuda.mem_get_info(self.device)[0])
        return float(psutil.virtual_memory().available)


def _share(left: float, seconds: float, rate: float) -> float:
    """Which part of the steps ``left`` (their cost) fits into ``seconds`` at ``rate`` (seconds for a unit of cost, 0 if not known yet)."""
    if seconds == float("inf") or not rate or not left:
        return 1.0
    return min(1.0, max(seconds, 0.0) / (left * rate))


def _recipe(config: gatys.Config, options: Options, pictures: Sequence[Path]) -> str:
    """Hash of what unfinished work must have in common with what goes on with it."""
    table = {
        "config": asdict(config),
        "init": options.init,
        "pictures": [hashlib.sha256(path.read_bytes()).hexdigest() for path in pictures],
    }
    return hashlib.sha256(json.dumps(table, sort_keys=True, default=str).encode()).hexdigest()
