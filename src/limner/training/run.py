"""Run: what a method is handed. Pictures, device, precision, checkpoints, previews and progress live here, so that no method knows them."""

import ctypes
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer

from limner import image
from limner.card import NAME
from limner.errors import LimnerError, require
from limner.files import replacing
from limner.training import checkpoint, data

logger = logging.getLogger("limner")

PREVIEW_PHOTOS = 4
PREVIEW_SHORT_SIDE = 384
LOG_EVERY = 10


@dataclass(frozen=True)
class Options:
    """Options of every training, whatever its method."""

    out: Path
    """Run directory: configuration, checkpoints, samples, metrics and, at the end, the style file."""
    seed: int = 0
    """Two runs with the same seed and options give the same weights, on the same machine's CPU to the last bit."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    preview_every: float = 3.0
    """Minutes between preview sheets (samples/)."""
    preview: Path | None = None
    """Folder of the photographs that previews show; by default the first of the training photographs."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; auto takes a GPU where there is one."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """Number format of the large sums; auto takes bf16 where the hardware has it."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """Compile the training step: costs about a minute, then saves time at every step. Auto compiles from 300 steps on."""
    workers: int | None = None
    """Processes that read photographs; by default half the cores, at most 8."""
    name: str = ""
    """Name of the style, lower case with hyphens; by default that of the run directory."""
    title: str = ""
    """Title of the style, for people."""
    description: str = ""
    """One sentence about the style, for people."""
    licence: str = ""
    """Licence of the style file."""
    authors: str = ""
    """Who trains it."""
    trained_on: tuple[str, ...] = field(default_factory=tuple)
    """The pictures it learns from, with their licences, as the card will name them."""
    recipe: str = ""
    """Name of the recipe, where there is one."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"--seed must not be negative, as {self.seed} is.")
        require(self.checkpoint_every >= 1, f"--checkpoint-every must be at least 1, not {self.checkpoint_every}.")
        require(self.workers is None or self.workers >= 0, f"--workers must not be negative, as {self.workers} is.")
        require(
            not self.name or NAME.fullmatch(self.name) is not None, f"--name must be lower case with hyphens, which {self.name!r} is not."
        )


class Run:
    """One training: see ``limner.methods.Run`` for what a method may ask of it.

    Pictures are float32 NCHW RGB in [0, 1] everywhere.
    """

    def __init__(self, options: Options, *, steps: int) -> None:
        self.options = options
        self.folder = options.out
        self.interrupted = False
        self.accelerator = Accelerator(cpu=options.device == "cpu")
        require(self.accelerator.num_processes == 1, "Training runs in one process so far: start it without torchrun or accelerate launch.")
        self.device = self.accelerator.device
        require(
            options.device != "gpu" or self.device.type != "cpu",
            "torch finds no GPU here: install a build for yours, or leave --device out.",
        )
        self.compiles = options.compile == "yes" or (options.compile == "auto" and steps >= 300 and _can_compile(self.device))
        self.bf16 = options.precision == "bf16" or (options.precision == "auto" and _has_fast_bf16(self.device))
        self.done = 0
        self.skipped: dict[str, None] = {}
        self._kept: dict[str, Any] = {}
        self._losses: dict[str, Tensor] = {}
        self._stylize: Callable[[Tensor], Tensor] | None = None
        torch.manual_seed(options.seed)
        _keep_large_blocks()
        if self.compiles and options.compile == "auto":
            # Nobody asked for the compiler: where it turns out to be broken, go on without it.
            torch._dynamo.config.suppress_errors = True

    # What a method asks for, in the order in which it asks.

    def place(self, module: Any) -> Any:
        return module.to(self.device, memory_format=torch.channels_last)

    def prepare(self, module: nn.Module, optimizer: Optimizer) -> tuple[Any, Any]:
        module, optimizer = self.accelerator.prepare(self.place(module), optimizer)
        return module, optimizer

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function) if self.compiles else function

    def photos(self, folder: Path, *, size: int, batch_size: int, min_scale: float) -> None:
        self._crops = data.Crops(folder, size=size, min_scale=min_scale, seed=self.options.seed)
        self._batch_size = batch_size
        logger.info("%d photographs in %s", len(self._crops.paths), folder)

    def picture(self, path: Path) -> Tensor:
        return data.read_picture(path).to(self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        # Not Accelerate's own mixed precision: it wraps each prepared network's forward, which breaks a compiled step into pieces.
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def preview(self, stylize: Callable[[Tensor], Tensor]) -> None:
        self._stylize = stylize

    def keep(self, **parts: Any) -> None:
        self._kept = parts
        found = checkpoint.load_newest(self.folder / "checkpoints")
        if found:
            self.done, state = found
            for name, part in parts.items():
                part.load_state_dict(state[name])
            torch.set_rng_state(state["random_state"])
            self.skipped = dict.fromkeys(state["skipped"])
            if state["photos"] != self._crops.fingerprint:
                logger.warning("the photographs are not the same as before: the run goes on, but not as it would have")
            logger.info("resumed at step %d", self.done)

    def steps(self, total: int) -> Iterator[tuple[int, Tensor]]:
        workers = min((os.cpu_count() or 1) // 2, 8) if self.options.workers is None else self.options.workers
        batches = data.batches(self._crops, batch_size=self._batch_size, first=self.done, last=total, workers=workers)
        self._preview_photos = self._read_preview_photos()
        saved, last_preview = self.done, time.monotonic()
        self._truncate_metrics()
        with _interrupts() as asked_to_stop, self._progress(total) as show:
            for step in range(self.done, total):
                crops, bad = next(batches)
                for sentence in bad:
                    if sentence not in self.skipped:
                        self.skipped[sentence] = None
                        logger.warning("skipped: %s", sentence)
                photos = crops.to(self.device, non_blocking=True).float().div_(255)
                yield step, photos.contiguous(memory_format=torch.channels_last)
                self.done = step + 1
                show(self.done)
                self.interrupted = asked_to_stop.is_set() and self.done < total
                if self.done % self.options.checkpoint_every == 0 or self.done == total or self.interrupted:
                    self._checkpoint()
                    saved = self.done
                if time.monotonic() - last_preview > 60 * self.options.preview_every or self.done == total:
                    self._preview_sheet()
                    last_preview = time.monotonic()
                if self.interrupted:
                    break
        assert saved == self.done

    def log(self, step: int, **losses: Tensor) -> None:
        self._losses = losses
        if (step + 1) % LOG_EVERY == 0:
            values = {name: round(loss.item(), 6) for name, loss in losses.items()}
            path = self.folder / "metrics.jsonl"
            try:
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": step + 1, **values}) + "\n")
            except OSError as error:
                again = f"limner train --resume {self.folder}"
                raise LimnerError(f"{path} cannot be written ({error.strerror}): free some space and go on with `{again}`.") from error

    # How it is done.

    def _checkpoint(self) -> None:
        for name, loss in self._losses.items():
            require(
                bool(torch.isfinite(loss)),
                f"The {name} is no longer a number at step {self.done}, so nothing of it is saved: go back to the last checkpoint with "
                f"`limner train --resume {self.folder}`, or start again with a lower --learning-rate.",
            )
        state = {name: part.state_dict() for name, part in self._kept.items()}
        state |= {"random_state": torch.get_rng_state(), "skipped": list(self.skipped), "photos": self._crops.fingerprint}
        checkpoint.save(self.folder / "checkpoints", self.done, state, keep=2)

    def _preview_sheet(self) -> None:
        """samples/step-N.png: the preview photographs in one row, what the network makes of them below."""
        if self._stylize is None or not self._preview_photos:
            return
        columns = []
        for photo in self._preview_photos:
            with torch.no_grad(), self.autocast():
                painted = self._stylize(photo.to(self.device)).float().cpu().clamp(0, 1)
            columns.append(torch.cat([photo, painted], dim=2)[0])
        height = min(column.shape[1] for column in columns)
        sheet = torch.cat([column[:, :height] if column.shape[1] == height else _scaled(column, height) for column in columns], dim=2)
        path = self.folder / "samples" / f"step-{self.done:08d}.png"
        image.write(image.Picture(image.from_float(sheet[None].numpy(), np.uint8)), path)

    def _read_preview_photos(self) -> list[Tensor]:
        folder = self.options.preview
        paths = self._crops.paths if folder is None else data.Crops(folder, size=1, min_scale=1, seed=0).paths
        photos: list[Tensor] = []
        for path in paths:
            if len(photos) == PREVIEW_PHOTOS:
                break
            try:
                photo = data.read_picture(path)
            except LimnerError:
                continue  # told when its turn comes in training
            scale = PREVIEW_SHORT_SIDE / min(photo.shape[-2:])
            size = [max(round(side * scale / 16), 1) * 16 for side in photo.shape[-2:]]
            photos.append(nn.functional.interpolate(photo, size, mode="bicubic", antialias=True).clamp(0, 1))
        if folder is None and not photos:
            # Said here, in one sentence: a worker would say it with its traceback.
            raise LimnerError(f"None of the {len(paths)} pictures in --photos can be read: name a folder of whole photographs.")
        return photos

    def _truncate_metrics(self) -> None:
        """Drop lines of steps that a killed run had done after its last checkpoint (they will be done again), and a line cut in two."""
        path = self.folder / "metrics.jsonl"
        if path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) <= self.done]
            with replacing(path) as beside:
                beside.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    @contextmanager
    def _progress(self, total: int) -> Iterator[Callable[[int], None]]:
        """A bar with losses, speed and ETA on a terminal; a line now and then in a log."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[losses]}"))
        times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(compact=True))
        started, first = time.monotonic(), self.done
        with Progress(*columns, *times, disable=not sys.stderr.isatty(), console=Console(stderr=True)) as progress:
            task = progress.add_task("training", total=total, completed=first, losses="")

            def show(done: int) -> None:
                progress.update(task, completed=done)
                if done % LOG_EVERY == 0 or done == total:
                    losses = " ".join(f"{name} {loss.item():.4g}" for name, loss in self._losses.items())
                    progress.update(task, losses=losses)
                    if progress.disable and (done % (10 * LOG_EVERY) == 0 or done == total):
                        rate = (done - first) / (time.monotonic() - started)
                        logger.info(
                            "step %d of %d: %s (%.2f steps/s, %.0f min left)",
                            done,
                            total,
                            losses,
                            rate,
                            (total - done) / rate / 60,
                        )

            yield show


def _step(line: str) -> float:
    """The step of a line of metrics; infinite for a line that is none."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _scaled(picture: Tensor, height: int) -> Tensor:
    width = round(picture.shape[2] * height / picture.shape[1])
    return nn.functional.interpolate(picture[None], (height, width), mode="bilinear", antialias=True)[0]


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C (or SIGTERM) sets: the step under way is finished and saved. A second Ctrl-C ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield asked
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        logger.info("stopping after this step; Ctrl-C again ends at once, without saving")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Without AMX, bf16 on a CPU is emulated or slower than float32.
        return bool(torch.cpu._is_amx_tile_supported())
    return False


def _can_compile(device: torch.device) -> bool:
    return device.type == "cuda" or (device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is not None)


def _keep_large_blocks() -> None:
    """Let glibc reuse large blocks: by default it gives back every block over 32 MiB and page-faults it anew at the next step."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            m_trim_threshold, m_mmap_max = -1, -4
            libc.mallopt(m_mmap_max, 0)
            libc.mallopt(m_trim_threshold, 2**31 - 1)
