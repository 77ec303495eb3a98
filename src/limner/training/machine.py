"""The machine that a training runs on: devices and processes, bf16, compiler, memory, random numbers."""

import ctypes
import os
import platform
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from torch import Tensor

from limner.errors import require
from limner.training.options import Options


def accelerator(options: Options) -> Accelerator:
    """Accelerate brings processes and devices together and feeds the trackers; precision and gradients are the run's own business."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    # Without a GPU, Accelerate joins processes only where it is told to stay on the CPU.
    cpu = options.device == "cpu" or (options.device == "auto" and processes > 1 and not torch.cuda.is_available())
    found = Accelerator(
        cpu=cpu,
        mixed_precision="no",
        log_with=[name for name in options.trackers if name != "none"] or None,
        project_config=ProjectConfiguration(str(options.out), str(options.out / "tensorboard")),
    )
    require(
        found.num_processes == processes,
        f"{processes} processes were started, but they do not find one another on this device: try `device` cpu, or start one.",
    )
    return found


def processes() -> int:
    """Of this run, on this computer."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def facts(accelerator: Accelerator, *, bf16: bool, compiles: bool) -> dict[str, Any]:
    """What the run is computed with, for the report."""
    device = accelerator.device
    found = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": accelerator.num_processes,
        "cpu cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": "bf16" if bf16 else "float32",
        "compiled": compiles,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }
    with suppress(OSError):  # Linux tells the processor's name, on some processors; else it is left out
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        found |= {"cpu": named[0]} if named else {}
    return found


def has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        # Without units for it, bf16 on a CPU is emulated and slower than float32.
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def can_compile(device: torch.device) -> bool:
    return device.type == "cuda" or (device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is not None)


def keep_large_blocks() -> None:
    """Let glibc reuse large blocks: by default it gives back every block over 32 MiB and page-faults it anew at the next step."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            m_trim_threshold, m_mmap_max = -1, -4
            libc.mallopt(m_mmap_max, 0)
            libc.mallopt(m_trim_threshold, 2**31 - 1)


def random_state(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return {**states, "cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
