"""PyTorch, from a style's weights: for GPUs where torch is installed anyway."""

from pathlib import Path
from typing import Any

import torch

from limner.errors import LimnerError
from limner.gallery import card, weights
from limner.methods import contract
from limner.style.runtimes.contract import Device, Engine, Image, Precision, check_range


def has_gpu() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def open_style(path: Path, device: Device, precision: Precision) -> Engine:
    target, found = _device(device), card.read(path)
    held = weights.load(path)
    try:
        with torch.device("meta"):  # sizes alone, until they are compared with what the file holds
            promised = {name: tensor.shape for name, tensor in contract.rebuild(found.method, found.network).state_dict().items()}
        state = {name: held[name].float() for name in promised}
        if promised != {name: tensor.shape for name, tensor in state.items()}:
            raise ValueError("its weights are not those of its card's network")
        network: Any = contract.rebuild(found.method, found.network)
        network.load_state_dict(state)
    except (KeyError, TypeError, ValueError, ModuleNotFoundError, RuntimeError) as error:
        raise LimnerError(f"{path} does not hold the weights of the network on its card: make it anew with `limner export`.") from error
    network.to(target, memory_format=torch.channels_last).eval()
    bf16 = precision == "auto" and target.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    def run(image: Image) -> Image:
        given = torch.from_numpy(image).to(target)
        pixels = given.dtype == torch.uint8
        with torch.inference_mode():
            photo = given.permute(0, 3, 1, 2) / 255 if pixels else given
            with torch.autocast(target.type, torch.bfloat16, enabled=bf16):
                stylized = network(photo).float()
            if pixels:
                check_range(path, float((stylized - stylized.clamp(0, 1)).abs().mean()))
                stylized = (stylized * 255 + 0.5).clamp(0, 255).byte().permute(0, 2, 3, 1)
        result: Image = stylized.cpu().contiguous().numpy()
        return result

    return run


def _device(device: Device) -> torch.device:
    if device == "cpu" or (device == "auto" and not has_gpu()):
        return torch.device("cpu")
    if not has_gpu():
        raise LimnerError("torch finds no GPU here: install a torch build for yours, or leave `device` out.")
    return torch.device("cuda" if torch.cuda.is_available() else "mps")
