"""Around a method that paints a single picture: its inputs, device, memory, time, progress, preview, and going on after a stop."""

import hashlib
import json
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
import torch
from annotated_types import Ge, Le
from torch import Tensor

from limner.blocks import features
from limner.errors import LimnerError, require
from limner.files import check_place, clear_leftovers, replacing
from limner.methods import contract
from limner.pictures import image
from limner.progress import Bar
from limner.ranges import PositiveOrZero, check
from limner.style import blend
from limner.training import terminal
from limner.training.machine import has_fast_bf16, keep_large_blocks
from limner.version import __version__

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
    max_memory: PositiveOrZero = 0.0
    """Gigabytes to get along with; by default four fifths of what is free."""
    preview_every: PositiveOrZero = 10.0
    """Seconds between previews (photo.starry-night.jpg.preview.jpg, beside the picture); 0 writes none."""
    overwrite: bool = False
    """Paint again what is there already, and forget unfinished work that was begun with other pictures or options."""
    strip: bool = False
    """Write no metadata (camera, place, time, colour profile)."""
    quality: Annotated[int, Ge(1), Le(100)] = 95
    """Quality of JPEG, WebP and AVIF, from 1 to 100."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to paint; auto takes a GPU where there is one."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """Number format of the features; auto takes bf16 where the processor has it, and float32 on a GPU, where bf16 may end in no numbers.
    Sums over the picture are float32 always."""

    def __post_init__(self) -> None:
        check(self)
        self.seconds()

    def seconds(self) -> float:
        """The time budget; infinite where there is none."""
        if not self.time_budget:
            return float("inf")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", self.time_budget)
        require(match is not None, f"`time_budget` must be like 60s, 10m or 1h, not {self.time_budget!r}.")
        assert match is not None
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def paint(
    photo: Path,
    paintings: Sequence[Path],
    out: Path,
    config: Any,
    options: Options,
    start: Callable[[image.Picture], image.Picture] | None = None,
) -> bool:
    """Paint ``photo`` in the style of ``paintings`` into the file ``out``. Returns False where Ctrl-C ended it early: what there is then is
    written all the same, and the same call goes on.

    ``config`` is the ``Config`` of a method that paints single pictures, by which the method is known. ``start`` makes the first picture
    of the photograph, scaled to the config's ``size``. Raises ``LimnerError`` for bad inputs.
    """
    method, wanted = contract.find(type(config).__module__.rpartition(".")[2]), len(paintings)
    require(wanted >= 1, "Name at least one painting after the photograph.")
    require(len(options.masks) in (0, wanted), f"`masks` needs one picture for each of the {wanted} paintings, not {len(options.masks)}.")
    require(out.suffix.lower() in image.WRITABLE, f"{out} has no ending of a picture that can be written: name it .jpg, .png or .tif.")
    check_place(out)
    clear_leftovers([out.parent])
    original = image.read(photo)
    whole = original if config.size == 0 else image.fit(original, config.size)
    height, width = whole.pixels.shape[:2]
    require(min(height, width) >= 16, f"{photo} has only {width} x {height} pixels at this `size`: VGG-19 needs 16 on the shorter side.")
    image.check_side(image.WRITABLE[out.suffix.lower()], height, width)
    read = [image.Picture(image.flat(image.read(path))) for path in (*paintings, *options.masks)]
    for path, mask in zip(options.masks, read[wanted:], strict=True):
        require(bool(mask.pixels[..., 0].any()), f"{path} is black all over: a mask is white where its painting's style belongs.")
    easel = Easel(out, options, recipe=_recipe(config, options, photo, paintings))
    styles, masks = [easel.tensor(each) for each in read[:wanted]], [easel.tensor(each)[:, :1].clone() for each in read[wanted:]]
    first = easel.tensor(start(whole)) if start is not None else None

    def finished(painted: Tensor) -> image.Picture:
        require(bool(painted.isfinite().all()), "The picture is no longer made of numbers: try again with a lower `learning_rate`.")
        pixels = painted.cpu().numpy()
        if options.keep_colors:
            pair = [batch[0].transpose(1, 2, 0) for batch in (image.to_float(whole.pixels), pixels)]
            pixels = blend.keep_colors(*pair).transpose(2, 0, 1)[None]
        return whole.with_pixels(image.from_float(pixels, whole.pixels.dtype))

    painted = method.stylize(easel.tensor(whole), styles, config, easel, start=first, masks=masks)
    image.write(finished(painted), out, strip=options.strip, quality=options.quality)
    easel.end()
    return not easel.interrupted


class Easel:
    """What ``limner.methods.contract.Easel`` promises. Unfinished work lies beside ``out``, in a file named ``out``.unfinished."""

    def __init__(self, out: Path, options: Options, recipe: str = "") -> None:
        self.out, self.options, self.recipe = out, options, recipe
        require(
            options.device != "gpu" or torch.cuda.is_available(),
            "torch finds no GPU here: install a build for yours, or leave `device` out.",
        )
        self.device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
        # On an H200, bf16 came to values that are no numbers after 800 of 900 steps; float32 did not.
        self._automatic = options.precision == "auto" and self.device.type == "cpu"
        self.bf16 = options.precision == "bf16" or (self._automatic and has_fast_bf16(self.device))
        require(len(out.name.encode()) <= 200, f"{out.name} is too long for a file's name: give a shorter one with `out`.")
        self.unfinished, self.preview = out.with_name(f"{out.name}.unfinished"), out.with_name(f"{out.name}.preview.jpg")
        self.done, self.interrupted, self._canvas, self._previews = 0, False, None, 0
        self._seconds, self._credit = 0.0, 0.0
        if out.exists() and not self.unfinished.exists() and not options.overwrite:
            raise LimnerError(f"{out} is there already: set `overwrite` to paint it again, or name another `out`.")
        keep_large_blocks()

    def tensor(self, picture: image.Picture) -> Tensor:
        return torch.from_numpy(image.to_float(picture.pixels)).to(self.device)

    # What a method asks for.

    def place(self, module: Any) -> Any:
        return module.to(self.device, memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def sparing(self, layers: Sequence[str], size: tuple[int, int], *, painting: int, copies: int) -> bool:
        allowed = self.options.max_memory * 1e9 or 0.8 * self._free()

        def needed(share: float, sparing: bool, bf16: bool) -> float:
            """For a picture with so large a share of the pixels; twelve bytes are a pixel in float32."""
            each = 2 if bf16 else 4
            there_and_back = features.memory(layers, (size[0] * share, size[1]), bytes_each=each, sparing=sparing)
            return max(there_and_back, 3.0 * 64 * each * painting) + 12.0 * (copies * size[0] * size[1] * share + painting)

        ways = [(False, self.bf16), (True, self.bf16)]
        if self._automatic and not self.bf16:
            ways.append((True, True))  # slower still, where the hardware is not made for it
        sparing, self.bf16 = next((way for way in ways if needed(1, *way) <= allowed), ways[-1])
        takes = needed(1, sparing, self.bf16)
        price = ", at the price of time" if sparing else ""
        logger.info("%d x %d pixels: about %.1f GB of memory%s", size[1], size[0], takes / 1e9, price)
        if takes > allowed:
            fitting = next((n for n in range(99, 0, -1) if needed((n / 100) ** 2, True, self.bf16) <= allowed), 0)
            smaller = f"paint it smaller, with `size` {max(size) * fitting // 100}, or " if max(size) * fitting // 100 >= 32 else ""
            raise LimnerError(
                f"{self.out} at {size[1]} x {size[0]} pixels needs about {takes / 1e9:.1f} GB of memory, and {allowed / 1e9:.1f} GB "
                f"are allowed: {smaller}give more with `max_memory`."
            )
        return sparing

    def keep(self, canvas: Any) -> None:
        self._canvas = canvas
        if not self.unfinished.exists():
            return
        try:
            state = torch.load(self.unfinished, map_location="cpu", weights_only=True)
            same = state["recipe"] == self.recipe
        except Exception as error:  # a damaged file shows itself in many ways
            raise LimnerError(f"{self.unfinished} is damaged: delete it, and begin again.") from error
        if not same and self.options.overwrite:
            self.unfinished.unlink()
            return
        require(same, f"{self.unfinished} was begun with other pictures or options: give those, or begin again with `overwrite`.")
        canvas.load_state_dict(state["canvas"])
        self.done, self._seconds, self._credit = state["done"], state["seconds"], state["credit"]
        logger.info("going on with %s", self.unfinished)

    def steps(self, costs: Sequence[float]) -> Iterator[int]:
        whole, left = sum(costs), sum(costs[self.done :])
        began, before = time.monotonic(), self._seconds
        saved, self._previewed = began, 0.0
        # The last steps' costs and seconds, without the first at each size: it prepares the size, and is slow.
        timed: deque[tuple[float, float]] = deque(maxlen=20)
        last, told = 0.0, 0
        with terminal.interrupts() as asked_to_stop, Bar("%", whole, done=whole - left, stays=True) as bar:
            for step in range(self.done, len(costs)):
                start = time.monotonic()
                self._seconds = before + start - began
                self._credit += _share(left, self.options.seconds() - self._seconds, timed)
                self.done = step + 1
                left -= costs[step]
                if self._credit < 1:
                    continue
                self._credit -= 1
                self._losses: dict[str, Tensor] = {}
                yield step
                if costs[step] == last:
                    timed.append((costs[step], time.monotonic() - start))
                last = costs[step]
                if step >= told:
                    told = step + 10
                    words = " ".join(f"{name} {loss.item():.4f}" for name, loss in self._losses.items())
                    bar.show(whole - left, words=words)
                    if not bar.seen and step % 100 < 10:
                        logger.info("step %d of %d: %s", step, len(costs), words)
                if asked_to_stop.is_set() and step + 1 < len(costs):
                    self.interrupted = True
                    break
                if time.monotonic() - saved > SAVE_EVERY:
                    saved = time.monotonic()
                    self._save()
        if self.interrupted:
            self._save()

    def show(self, painted: Callable[[], Tensor], losses: dict[str, Tensor]) -> None:
        self._losses = losses
        every, now = self.options.preview_every, time.monotonic()
        if every and now - self._previewed > every:
            self._previewed, self._previews = now, self._previews + 1
            pixels = image.from_float(painted().cpu().numpy(), "uint8")
            try:
                image.write(image.Picture(pixels), self.preview, quality=90)
            except LimnerError as error:  # a full disk: the picture itself will say so where it matters
                logger.warning("the preview was not written: %s", error)

    def end(self) -> None:
        """The picture is written: what served on the way there goes, unless it is to go on."""
        if self._previews:
            self.preview.unlink(missing_ok=True)
        if not self.interrupted:
            self.unfinished.unlink(missing_ok=True)

    # How it is done.

    def _save(self) -> None:
        state = self._canvas.state_dict()  # type: ignore[attr-defined]
        require(
            bool(state["picture"].isfinite().all()), "The picture is no longer made of numbers: try again with a lower `learning_rate`."
        )
        try:
            with replacing(self.unfinished) as beside:
                torch.save(
                    {"recipe": self.recipe, "canvas": state, "done": self.done, "seconds": self._seconds, "credit": self._credit}, beside
                )
        except (LimnerError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            logger.warning("unfinished work could not be saved, and the painting goes on without: %s", error)

    def _free(self) -> float:
        if self.device.type == "cuda":
            return float(torch.cuda.mem_get_info(self.device)[0])
        return float(psutil.virtual_memory().available)


def _share(left: float, seconds: float, timed: Sequence[tuple[float, float]]) -> float:
    """Which part of the steps ``left`` (their cost) fits into ``seconds``, going by the costs and seconds of some."""
    if seconds == float("inf") or len(timed) < 3:
        return 1.0
    rate = sum(each for _, each in timed) / sum(cost for cost, _ in timed)
    return min(1.0, max(seconds, 0.0) / max(left * rate, 1e-9))


def _recipe(config: Any, options: Options, photo: Path, paintings: Sequence[Path]) -> str:
    """Hash of what unfinished work must have in common with what goes on with it."""
    pictures = [[hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for paths in ([photo], paintings, options.masks)]
    settings = {"init": options.init, "precision": options.precision, "limner": __version__}
    return hashlib.sha256(json.dumps([asdict(config), settings, pictures], sort_keys=True, default=str).encode()).hexdigest()
