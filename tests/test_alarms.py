"""Alarms: each tells its own bad pictures or losses, and stays silent over good ones. Thresholds come from real photographs and styles."""

import copy
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

import limner
from limner.training import alarms
from tests.conftest import make_photo

EXAMPLES = sorted((Path(__file__).parent.parent / "examples" / "photos").glob("*.jpg"))


def batch(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Six real photographs and two synthetic ones, one of them grey."""
    real = [np.asarray(ImageOps.fit(Image.open(path).convert("RGB"), (256, 256))) for path in EXAMPLES]
    grey = make_photo(256, 256, seed=1).mean(2, keepdims=True).repeat(3, 2).astype(np.uint8)
    return batch([*real, make_photo(256, 256), grey])


def kinds(photos: Tensor, outputs: Tensor) -> list[str]:
    return [alarm.kind for alarm in alarms.of_pictures(photos, outputs.clamp(0, 1))]


def noise(like: Tensor, strength: float) -> Tensor:
    return strength * torch.randn(like.shape, generator=torch.Generator().manual_seed(0))


def luma(x: Tensor) -> Tensor:
    return (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def blurred(x: Tensor, side: int = 5) -> Tensor:
    return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)


def jpeg(x: Tensor) -> Tensor:
    saved = []
    for picture in (x * 255).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=90)
        saved.append(np.asarray(Image.open(file)))
    return batch(saved)


def texture(x: Tensor) -> Tensor:
    """One fixed texture of strokes, with a little of each photograph."""
    strokes = F.interpolate(noise(torch.empty(1, 3, 40, 40), 0.3), x.shape[2:], mode="bicubic") + 0.5
    return 0.95 * strokes + 0.05 * x


BAD: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "identity": ("output equals input", lambda x: x),
    "identity and a level": ("output equals input", lambda x: x + noise(x, 1).sign() / 255),
    "jpeg": ("output equals input", jpeg),
    "constant": ("collapse", lambda x: torch.full_like(x, 0.5)),
    "one texture": ("collapse", texture),
    "noise": ("collapse", lambda x: 0.5 + noise(x, 0.2)),
    "negative": ("colours inverted", lambda x: 1 - x),
    "negative of luma": ("colours inverted", lambda x: x + 1 - 2 * luma(x)),
    "negative of chroma": ("colours inverted", lambda x: 2 * luma(x) - x),
    "channels turned": ("colours inverted", lambda x: x[:, [1, 2, 0]]),
    "noise over all": ("flat areas gone", lambda x: x + noise(x, 0.3)),
    "checkerboard": (
        "flat areas gone",
        lambda x: x + 0.2 * (torch.arange(256).view(-1, 1) + torch.arange(256)).remainder(2).sub(0.5).sign(),
    ),
}


def tone(*colour: float) -> Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1)


GOOD: dict[str, Callable[[Tensor], Tensor]] = {
    "posterised": lambda x: (x * 3).round() / 3,
    "saturated": lambda x: luma(x) + 2.5 * (x - luma(x)),
    "grey": lambda x: luma(x).expand_as(x),
    "sepia": lambda x: luma(x) * torch.tensor([1.1, 0.95, 0.7]).view(1, 3, 1, 1),
    "blue shade, cream light": lambda x: torch.lerp(tone(0.1, 0.1, 0.4), tone(1, 0.9, 0.7), luma(x)),
    "smoothed": blurred,
    "brightened": lambda x: x * 1.3,
    "pale": lambda x: 0.65 + 0.3 * x,
    "pencil": lambda x: (1 - 3 * (luma(x) - blurred(luma(x))).abs()).expand_as(x),
    "grain": lambda x: x + noise(x, 0.03),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_alarm(photos: Tensor, name: str) -> None:
    kind, spoil = BAD[name]
    (alarm,) = alarms.of_pictures(photos, spoil(photos).clamp(0, 1))
    assert alarm.kind == kind
    assert "(alarm " in alarm.saw, "the threshold stands beside what was seen"
    assert alarm.saw.endswith(".") and alarm.advice.endswith(".")


@pytest.mark.parametrize("name", GOOD)
def test_good_pictures_do_not(photos: Tensor, name: str) -> None:
    assert kinds(photos, GOOD[name](photos)) == []


@pytest.mark.parametrize(("name", "strength"), [("starry-night", 0.25), *((style.name, 1.0) for style in limner.styles())])
def test_bundled_styles_do_not(photos: Tensor, name: str, strength: float) -> None:
    style, pixels = limner.load(name), (photos * 255).round().byte().permute(0, 2, 3, 1).numpy()
    found = kinds(photos, batch([style(picture, strength=strength) for picture in pixels]))
    # Monet has a grid of four pixels at the size at which it paints (docs/methods/cyclegan.md).
    assert found == (["weave"] if name == "monet" else [])


@pytest.fixture(scope="module")
def faulty() -> list[Tensor]:
    """Photographs, what an early CycleGAN with instance norm made of them, and the way back: with droplets and a weave."""
    sheet = np.asarray(Image.open(Path(__file__).parent / "pictures" / "cyclegan-faults.jpg"))
    return [batch([sheet[30 + 262 * row :, 6 + 390 * column :][:256, :384] for row in range(3)]) for column in range(3)]


def test_droplets_and_weave_of_a_real_training(faulty: list[Tensor]) -> None:
    photos, painted, back = faulty
    assert set(kinds(photos, painted)) == {"weave", "droplets"}
    assert "droplets" in kinds(photos, back)
    assert "weave" not in kinds(photos, back)
    for pictures in (painted, back):  # as photographs that are hardly changed they are as they should be
        assert kinds(pictures, pictures) == ["output equals input"]


def test_planted_droplets_are_counted(photos: Tensor) -> None:
    clean = blurred(photos, 9) * 0.6 + 0.2
    assert alarms.droplets(photos, clean) == 0
    down, right = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    spots = [(60, 70), (128, 200), (190, 50)]
    for colour in (0.0, 1.0):
        spoilt = clean.clone()
        for y, x in spots:
            spoilt[:, :, (down - y) ** 2 + (right - x) ** 2 <= 16] = colour
        assert 2 <= alarms.droplets(photos, spoilt) <= 3
        assert alarms.droplets(spoilt, spoilt) == 0  # what the photograph has is none


def test_planted_weave_is_found(photos: Tensor) -> None:
    clean = blurred(photos, 9)
    down, right = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    woven = clean + 0.03 * (torch.sin(down * 1.7) * torch.sin(right * 1.7))
    assert "weave" in kinds(photos, woven)
    assert "weave" not in kinds(photos, clean + noise(clean, 0.03))
    assert "weave" not in kinds(photos, clean + 0.03 * torch.sin(down * 0.3))  # as wide as strokes


def test_photographs_that_say_nothing_never_alarm() -> None:
    flat = torch.full((2, 3, 256, 256), 0.5) + torch.tensor([0, 1e-3]).view(2, 1, 1, 1)
    for outputs in (flat.flip(0) * 0.8, 1.2 - flat, flat + noise(flat, 0.3)):
        assert kinds(flat, outputs) in ([], ["flat areas gone"])
    grey = batch([make_photo(256, 256, seed=i)[..., :1].repeat(3, 2) for i in range(4)])
    assert kinds(grey, 0.1 + 0.8 * grey + noise(grey, 0.01)) == []


@pytest.mark.parametrize("size", [(32, 32), (240, 100)])
def test_any_size(size: tuple[int, int]) -> None:
    photos = batch([make_photo(*size, seed=i) for i in range(4)])
    assert kinds(photos, photos) == ["output equals input"]
    assert kinds(photos, 1 - photos) == ["colours inverted"]
    assert kinds(photos, torch.zeros_like(photos)) == ["collapse"]
    assert kinds(photos, (photos * 3).round() / 3 * 0.8 + 0.1) == []


def watch(values: list[dict[str, float]], losses: alarms.Losses | None = None, first: int = 0) -> list[tuple[int, str]]:
    """(number of the log, kind) of every alarm."""
    losses = losses or alarms.Losses()
    return [(i, alarm.kind) for i, found in enumerate(values, first) for alarm in losses.look(10 * i + 10, found)]


def wandering(logs: int, factor: float = 3.0, noise: float = 0.3, period: int = 100) -> list[float]:
    """Between 0.5 / factor and 0.5 * factor, with noise."""
    random = np.random.default_rng(0)
    return [float(0.5 * factor ** math.sin(2 * math.pi * i / period) * math.exp(random.normal(0, noise))) for i in range(logs)]


def falling(logs: int) -> list[float]:
    """A normal start: steeply from four times its later level."""
    random = np.random.default_rng(1)
    return [float((1 + 3 * math.exp(-i / 3)) * math.exp(random.normal(0, 0.15))) for i in range(logs)]


def test_normal_losses_do_not_alarm() -> None:
    assert watch([{"loss": value} for value in falling(400)]) == []
    for period in (15, 100, 600):
        both = zip(wandering(1000, period=period), reversed(wandering(1000, period=period)), strict=True)
        assert watch([{"generator": g, "discriminator": 0.5 * d} for g, d in both]) == []
    assert watch([{"loss": 30.0 if i % 10 == 0 else 1.0} for i in range(200)]) == [], "single bad batches"
    assert watch([{"tone": 0.0} for _ in range(50)] + [{"tone": 0.002} for _ in range(50)]) == [], "small multiples of nothing"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_a_number(bad: float) -> None:
    losses = alarms.Losses()
    assert watch([{"loss": value, "style": 1.0} for value in falling(20)], losses) == []
    (alarm,) = losses.look(210, {"loss": bad, "style": 1.0})
    assert alarm.kind == "loss is not a number"
    assert alarm.saw == "At step 210 these losses are no longer finite: loss."


@pytest.mark.parametrize("rise", [lambda i: 20.0, lambda i: 1.1**i])
def test_a_loss_that_explodes_is_told_once(rise: Callable[[int], float]) -> None:
    normal = falling(100)
    found = watch([{"loss": value} for value in normal] + [{"loss": rise(i) * value} for i, value in enumerate(normal)])
    assert [kind for _, kind in found] == ["loss explodes"]
    assert 100 <= found[0][0] < 140


def test_a_loss_that_explodes_from_the_start() -> None:
    assert watch([{"loss": 100.0**i} for i in range(15)]) == [(5, "loss explodes")]


def test_a_new_phase_begins_anew() -> None:
    """Content is low after an initialisation phase with nothing else, and rises when the adversarial one begins."""
    assert watch([{"content": 0.02}] * 50 + [{"content": 0.4, "generator": 0.5, "discriminator": 0.2}] * 50) == []


def test_a_saturated_discriminator() -> None:
    values = [{"generator": 0.5, "discriminator_a": 0.2, "discriminator_b": 0.2 if i < 30 else 0.001} for i in range(60)]
    assert watch(values) == [(39, "discriminator saturated")]
    assert watch([{"discriminator": 0.2 if i % 8 == 0 else 0.001} for i in range(100)]) == [], "not for good"
    assert watch([{"discriminator": 0.25 if i > 8 else 0.001} for i in range(100)]) == [], "recovered, and no explosion"


def test_resumed_alarms_as_uninterrupted() -> None:
    values = [
        {"generator": g if i < 120 else 40 * g, "discriminator": 0.1 if i < 60 else 1e-4} for i, g in enumerate(wandering(150, factor=1.5))
    ]
    whole = watch(values)
    assert {kind for _, kind in whole} == {"loss explodes", "discriminator saturated"}
    for cut in (3, 64, 69, 70, 123, 130, 149):
        before, after = alarms.Losses(), alarms.Losses()
        found = watch(values[:cut], before)
        state = before.state_dict()
        kept = copy.deepcopy(state)
        watch(values[cut:], before, cut)
        assert state == kept, "a state does not change with the run that goes on"
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        after.load_state_dict(torch.load(file, weights_only=True))
        assert after.state_dict() == state
        assert found + watch(values[cut:], after, cut) == whole
