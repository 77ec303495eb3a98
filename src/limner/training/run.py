"""Run: what a method is handed. Pictures, device, precision, checkpoints, previews and alarms live here, so that no method knows them."""

import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from limner.errors import LimnerError, require
from limner.pictures.sources import Source, open_source
from limner.training import alarms, averaging, checkpoint, data, held_out, machine, record, sheets, terminal
from limner.training.options import Options

logger = logging.getLogger("limner")

LOG_EVERY = 10
HELD_OUT_PICTURES = 64


class Run:
    """One training: see ``limner.methods.contract.Run`` for what a method may ask of it.

    Pictures are float32 NCHW RGB in [0, 1] everywhere.
    """

    def __init__(
        self,
        options: Options,
        *,
        steps: int,
        recipe: str = "",
        preview_side: int = sheets.SHORT_SIDE,
        styles: Collection[str] = ("average",),
    ) -> None:
        """``recipe`` is the hash of what a run must have in common with its checkpoints; previews have the short side ``preview_side``;
        ``styles`` names the averages that become style files.
        """
        self.options = options
        self.preview_side = preview_side
        self.folder = options.out
        self.recipe = recipe
        self.interrupted = False
        self.accelerator = machine.accelerator(options)
        self.device = self.accelerator.device
        require(
            options.device != "gpu" or self.device.type != "cpu",
            "torch finds no GPU here: install a build for yours, or leave `device` out.",
        )
        self.compiles = options.compile == "yes" or (options.compile == "auto" and steps >= 300 and machine.can_compile(self.device))
        self.bf16 = options.precision == "bf16" or (options.precision == "auto" and machine.has_fast_bf16(self.device))
        self.record = record.Record(self.folder, self.accelerator)
        self.done = 0
        self.best: dict[str, Any] = {"step": 0, "score": math.inf, "waited": 0}
        self._streams: dict[str, data.Stream] = {}
        self._sheets: list[sheets.PreviewSheet] = []
        self._styles, self._averages = styles, dict[str, AveragedModel]()
        self._kept: dict[str, Any] = {}
        self._losses: dict[str, Tensor] = {}
        self._watch = alarms.Losses()
        self._measure: tuple[Callable[[], dict[str, Tensor]], str] | None = None
        self._looks: list[Callable[[], list[alarms.Alarm]]] = []
        self._skipped: dict[str, None] = {}
        self._seconds_before = 0.0
        self._total = 0
        torch.manual_seed(options.seed)
        machine.keep_large_blocks()
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True  # all steps have the same sizes
        if not self.accelerator.is_main_process:
            logger.setLevel(logging.ERROR)
        if self.compiles and options.compile == "auto":
            # Nobody asked for the compiler: where it turns out to be broken, go on without it.
            torch._dynamo.config.suppress_errors = True

    # What a method asks for, in the order in which it asks.

    def place(self, module: Any) -> Any:
        return module.to(self.device, memory_format=torch.channels_last)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function) if self.compiles else function

    def pictures(
        self,
        path: Path,
        *,
        size: int,
        batch_size: int,
        min_scale: float | None,
        max_scale: float = 1.0,
        short_side: int | None = None,
        name: str = "photos",
        domain: str = "",
    ) -> data.Stream:
        source = open_source(path, domain=domain)
        short_side = short_side or max(math.ceil(size / (min_scale or 1)), self.preview_side)
        device = self.device if self.device.type == "cuda" else None
        cache = data.PictureCache(source, short_side=short_side, budget=self._budget(source), device=device)
        if not self._streams and self.options.held_out is not None:
            aside = open_source(self.options.held_out)
            held_cache, numbers = data.PictureCache(aside, short_side=short_side, budget=0), held_out.outside(source, aside)
            require(len(numbers) > 0, f"All pictures in {path} are held out, so there are none to train on: hold out others.")
            held = np.random.default_rng(0).permutation(len(aside)).tolist()[:HELD_OUT_PICTURES]  # always the same ones
        else:
            held_cache = cache
            numbers, held = held_out.split([source.key(n) for n in range(len(source))], seed=self.options.seed)
        seed = data.salted(self.options.seed, name)
        crops = data.Crops(cache, numbers, size=size, min_scale=min_scale, max_scale=max_scale, seed=seed)
        stream = self._stream(name, path, crops, batch_size, held_cache, held)
        crops.shown.keep_apart(held_cache, held)
        return stream

    def partners(self, path: Path, of: data.Stream, *, name: str) -> data.Stream:
        source = open_source(path)
        held_cache, held = of.held
        aside, numbers = held_cache is not of.drawn.cache, of.drawn.numbers
        cache = data.Partners(source, of.drawn.cache, numbers if aside else [*numbers, *held], budget=self._budget(source))
        crops, held_partners = of.drawn.partners(cache), cache
        if aside:
            try:
                held_partners = data.Partners(source, held_cache, held, budget=0)
            except LimnerError as error:
                logger.warning("%s: no held-out number of it: %s", name, error)
                held = []
        readable = [n for n in held if held_cache.size(n) is not None]
        whole = [n for n in readable if held_partners.size(n) is not None]
        if whole != readable:
            of.hold_out(held_cache, whole)
        return self._stream(name, path, crops, of.batch_size, held_partners, whole)

    def _budget(self, source: Source) -> int:
        return data.budget(source, self.device, machine.processes())

    def _stream(
        self, name: str, path: Path, crops: data.Crops, batch_size: int, held_cache: data.PictureCache, held: list[int]
    ) -> data.Stream:
        workers = (
            min(max((os.cpu_count() or 1) // (2 * machine.processes()), 1), 8) if self.options.workers is None else self.options.workers
        )
        stream = data.Stream(
            crops,
            batch_size=batch_size,
            device=self.device,
            rank=self.accelerator.process_index,
            ranks=self.accelerator.num_processes,
            workers=workers,
        )
        stream.preview_side = self.preview_side
        stream.hold_out(held_cache, held)
        source, count = crops.shown.caches[0].source, len(crops.numbers)
        left_out = len(source) - count - (len(held) if held_cache is crops.cache else 0)
        about = {"pictures": count, "held_out": len(held), "left_out": left_out}
        stream.about = {"path": str(path), "kind": crops.cache.source.kind, **about}
        self._streams[name] = stream
        told = f"{len(held)} held out" if held else "none held out: there will be no held-out number"
        others = f", {left_out} left out because of them" if left_out else ""
        logger.info("%s: %d pictures in %s, %s%s", name, count, path, told, others)
        return stream

    def picture(self, path: Path) -> Tensor:
        return data.read_picture(path).to(self.device)

    def autocast(self) -> AbstractContextManager[Any]:
        # Not Accelerate's own mixed precision: it wraps each prepared network's forward, which breaks a compiled step into pieces.
        # bf16 has float32's range, so no gradient scaler is needed.
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def backward(self, loss: Tensor, module: nn.Module) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        if self.accelerator.num_processes > 1:
            # Not DistributedDataParallel: it breaks a compiled step into pieces, and forbids what adversarial training does, to run a
            # network several times a step and to pass gradients through one that is not to learn.
            gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
            mean = self.accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
            for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def preview(
        self,
        paint: Callable[[Tensor], Tensor],
        photos: data.Stream,
        *,
        name: str = "",
        back: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        def painted(batch: Tensor) -> Tensor:
            with torch.no_grad(), self.autocast():
                return paint(batch).float().clamp(0, 1)

        def shown(batch: Tensor) -> Tensor:
            there = painted(batch)
            if back is None:
                return there
            with torch.no_grad(), self.autocast():
                return torch.cat([there, back(there).float().clamp(0, 1)], dim=2)

        def look() -> list[alarms.Alarm]:
            crops = torch.cat(photos.watched)[: held_out.SPARED]
            return alarms.of_pictures(crops, torch.cat([painted(crop[None]) for crop in crops])) if len(crops) >= 2 else []

        self._looks.append(look)
        self._sheets.append(sheets.PreviewSheet(self.folder / "samples", shown, photos.preview, name=name))

    def evaluate(self, measure: Callable[[], dict[str, Tensor]], *, by: str) -> None:
        self._measure = measure, by

    def average(self, network: nn.Module, decay: float, *, warm_up: bool = True, name: str = "average") -> AveragedModel:
        self._averages[name] = averaging.averaged(network, decay, warm_up=warm_up)
        return self._averages[name]

    def keep(self, **parts: Any) -> None:
        self._kept = {**parts, **self._averages}
        state = checkpoint.load(self.folder / "checkpoints")
        if state is None:
            # Random numbers of the steps: networks were built from the same ones everywhere, what follows is each process's own.
            torch.manual_seed(self.options.seed + self.accelerator.process_index)
            return
        if state.get("recipe") != self.recipe:
            raise LimnerError(
                f"The checkpoints in {self.folder} were made with other options than its config.toml has now, or by another version of "
                "Limner: put the options back, or start a new run with another `out`."
            )
        self._restore(state)
        logger.info("resumed at step %d", self.done)

    def steps(self, total: int) -> Iterator[int]:
        self._begin(total)
        last_preview, main = time.monotonic(), self.accelerator.is_main_process
        with (
            terminal.interrupts() as asked_to_stop,
            terminal.progress(self.done, total, self._pictures_per_step(), shown=main) as show,
        ):
            while self.done < total and not self._improves_no_more():
                yield self.done
                self.done += 1
                show(self.done, self._losses_in_words() if self.done % LOG_EVERY == 0 or self.done == total else "")
                self._tell_skipped()
                stop = self._agreed(asked_to_stop.is_set()) and self.done < total
                planned = self.done % self.options.checkpoint_every == 0 or self.done == total
                if planned:
                    self._evaluate()
                if planned or stop:
                    self._checkpoint()
                if main and (self.done == total or stop or time.monotonic() - last_preview > 60 * self.options.preview_every):
                    self._draw()
                    last_preview = time.monotonic()
                if stop:
                    self.interrupted = True
                    break

    def log(self, step: int, **losses: Tensor) -> None:
        self._losses = losses
        if (step + 1) % LOG_EVERY and step + 1 != self._total:
            return
        together = torch.stack([loss.detach().float() for loss in losses.values()])
        mean = self.accelerator.reduce(together, "mean").tolist()
        values = {name: round(value, 6) for name, value in zip(losses, mean, strict=True)}
        self.record.losses(step + 1, values, seconds=self._seconds(), pictures=(step + 1) * self._pictures_per_step())
        for alarm in self._watch.look(step + 1, values):
            self.record.alarm(step + 1, alarm)
        for name, value in values.items():
            self._require_number(f"The {name}", math.isfinite(value), step + 1)

    def end(self) -> None:
        """Let go of threads, trackers and other processes, however the run ended."""
        for stream in self._streams.values():
            stream.close()
        if self._total:
            self.record.report(stopped=self.done < self._total)
        self.accelerator.end_training()

    # How it is done.

    def _begin(self, total: int) -> None:
        for name in self._styles:
            require(
                name in self._kept,
                f"The method keeps no {name!r}, which becomes the style file: make it with run.average(network, decay), and call "
                "run.keep(...) after it and before run.steps(...).",
            )
        self._started, self._total = time.monotonic(), total
        self.record.resume_at(self.done)
        for stream in self._streams.values():
            stream.end_at(total)
        self._tell_data()
        self.record.table("machine.json", machine.facts(self.accelerator, bf16=self.bf16, compiles=self.compiles))
        self.record.start_trackers(self.options.trackers, first=self.done)

    def _evaluate(self) -> None:
        """The held-out number, and a look at the pictures. Random numbers that this draws are nobody's loss."""
        self._require_numbers()
        if not self.accelerator.is_main_process:
            return
        with self._own_random_numbers():
            for alarm in (alarm for look in self._looks for alarm in look()):
                self.record.alarm(self.done, alarm)
            found = {} if self._measure is None else {name: round(value.item(), 6) for name, value in self._measure[0]().items()}
        if self._measure is None or not found:
            return
        score = found[self._measure[1]]
        self.record.held_out(self.done, {"score": score, **found})
        better = score < self.best["score"]
        self.best = {"step": self.done, "score": score, "waited": 0} if better else {**self.best, "waited": self.best["waited"] + 1}

    def _improves_no_more(self) -> bool:
        """Whether --patience is at its end; only the first process knows, and only at checkpoints there is something new to know."""
        waited = self.options.patience and self.best["waited"] >= self.options.patience
        if not self.options.patience or self.done % self.options.checkpoint_every or not self._agreed(bool(waited), now=True):
            return False
        logger.info("no better held-out number for %d checkpoints: stopped early, at step %d", self.options.patience, self.done)
        return True

    def _checkpoint(self) -> None:
        self._require_numbers()
        same = {name: part.state_dict() for name, part in self._kept.items() if _same_everywhere(part)}
        own = {name: part.state_dict() for name, part in self._kept.items() if not _same_everywhere(part)}
        own |= {"random state": machine.random_state(self.device), "skipped": list(self._skipped)}
        all_own = gather_object([_on_cpu(own)])
        if self.accelerator.is_main_process:
            state = {
                "recipe": self.recipe,
                "parts": same,
                "own": all_own,
                "pictures": {name: stream.fingerprint for name, stream in self._streams.items()},
                "best": self.best,
                "alarms": self._watch.state_dict(),
                "seconds": self._seconds(),
            }
            checkpoint.save(self.folder / "checkpoints", self.done, state, keep=self.options.keep_checkpoints)
            self._skipped = dict.fromkeys(sentence for each in all_own for sentence in each["skipped"])
            self._mark_best()
            self._tell_data()
            if self.done < self._total:  # else it comes with the style file
                self.record.report()
        self.accelerator.wait_for_everyone()

    def _mark_best(self) -> None:
        if self.best["step"] == self.done:
            checkpoint.mark_best(self.folder / "checkpoints", self.done)

    def _restore(self, state: dict[str, Any]) -> None:
        self.done, self.best, self._seconds_before = state["step"], state["best"], state["seconds"]
        rank = self.accelerator.process_index
        if len(state["own"]) != self.accelerator.num_processes:
            logger.warning("the run had %d processes before: it goes on, but not as it would have", len(state["own"]))
        own = state["own"][min(rank, len(state["own"]) - 1)]
        for name, part in self._kept.items():
            part.load_state_dict(state["parts"][name] if _same_everywhere(part) else own[name])
        self._watch.load_state_dict(state["alarms"])
        self._skipped = dict.fromkeys(own["skipped"])
        for name, stream in self._streams.items():
            if state["pictures"].get(name) != stream.fingerprint:
                logger.warning("the pictures of --%s are not the same as before: the run goes on, but not as it would have", name)
        if self.accelerator.is_main_process:
            self._mark_best()  # killed between writing the checkpoint and marking it
        machine.set_random_state(own["random state"], self.device)

    def _draw(self) -> None:
        try:
            with self._own_random_numbers():
                for sheet in self._sheets:
                    sheet.add(self.done)
        except LimnerError as error:  # a full disk: the next checkpoint says so where it matters
            logger.warning("the preview sheet was not written: %s", error)
        if self.done < self._total:
            self.record.report()

    def _own_random_numbers(self) -> AbstractContextManager[Any]:
        """What is drawn inside changes nothing outside: a run with other previews is the same run."""
        return torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])

    def _agreed(self, wish: bool, *, now: bool = False) -> bool:
        """Whether any process wishes so; asked in all of them at the same steps, since one that stops alone leaves the others waiting."""
        if self.accelerator.num_processes == 1:
            return wish
        if not now and self.done % LOG_EVERY:
            return False
        return bool(self.accelerator.reduce(torch.tensor([float(wish)], device=self.device)).item() > 0)

    def _require_numbers(self) -> None:
        """Nothing is saved of weights that are lost; a loss may still look well at the step that loses them."""
        for name, part in self._kept.items():
            if isinstance(part, nn.Module):
                whole = all(
                    tensor.isfinite().all().item() for tensor in part.state_dict().values()
                )  # an average counts its steps on the CPU
                self._require_number(f"A weight of the {name}", whole, self.done)

    def _require_number(self, what: str, is_number: bool, step: int) -> None:
        if not is_number:
            raise LimnerError(
                f"{what} is no longer a number at step {step}, so nothing of it is saved: go back to the last checkpoint with "
                f"`limner train --resume {self.folder}`, or start again with a lower `learning_rate`."
            )

    def _tell_skipped(self) -> None:
        for stream in self._streams.values():
            for sentence in stream.newly_skipped():
                if sentence not in self._skipped:
                    self._skipped[sentence] = None
                    logger.warning("skipped: %s", sentence)

    def _tell_data(self) -> None:
        about = {name: stream.about for name, stream in self._streams.items()}
        self.record.table("data.json", {**about, "skipped": list(self._skipped)})

    @property
    def skipped(self) -> list[str]:
        """A sentence for each picture that could not be read."""
        return list(self._skipped)

    def _losses_in_words(self) -> str:
        return " ".join(f"{name} {loss.item():.4g}" for name, loss in self._losses.items())

    def _pictures_per_step(self) -> int:
        """Photographs that all processes together see in a step."""
        first = next(iter(self._streams.values()), None)
        return first.batch_size * first.ranks if first else 1

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started


def _on_cpu(value: Any) -> Any:
    """Tensors in lists and dicts, moved to the CPU."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(each) for key, each in value.items()}
    return [_on_cpu(each) for each in value] if isinstance(value, list | tuple) else value


def _same_everywhere(part: Any) -> bool:
    """Networks, optimizers and schedules are equal in all processes; anything else, such as an image pool, is each one's own."""
    return isinstance(part, nn.Module | Optimizer | LRScheduler)
