"""The number that sees drawing, and the measures beside it: on pictures made by hand, whose order is known."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from limner.blocks import abstraction, features, measures

EXAMPLES = Path(__file__).parent.parent / "examples" / "photos"
ARTISTS = ("catherine-groenewald", "rob-owen", "magriet-brink", "jesse-breytenbach")
Picture = NDArray[np.float32]


def read(path: Path, short: int) -> Picture:
    with Image.open(path) as photo:
        scale = short / min(photo.size)
        small = photo.convert("RGB").resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float32) / np.float32(255)


def cartoon(seed: int, side: int = 96) -> Picture:
    """Flat shapes in random colours with black outlines on a light ground."""
    random = np.random.default_rng(seed)

    def colour(low: int) -> tuple[int, ...]:
        return tuple(int(value) for value in random.integers(low, 256, 3))

    sheet = Image.new("RGB", (4 * side, 4 * side), colour(170))
    draw = ImageDraw.Draw(sheet)
    for _ in range(7):
        (x, y), size = random.integers(0, 4 * side, 2).tolist(), int(random.integers(side, 2 * side))
        box = (x - size // 2, y - size // 2, x + size // 2, y + int(size * random.uniform(0.2, 0.8)))
        if random.random() < 0.5:
            draw.ellipse(box, colour(40), "black", 8)
        else:
            draw.regular_polygon((x, y, size // 2), int(random.integers(3, 7)), int(random.integers(360)), colour(40), "black", 8)
    return np.asarray(sheet.resize((side, side), Image.Resampling.LANCZOS), np.float32) / np.float32(255)


def recoloured(photo: Picture, like: Picture) -> Picture:
    """With mean and deviation of another picture's channels, as far as nothing is clipped."""
    wanted = (photo - photo.mean((0, 1))) / photo.std((0, 1)) * like.std((0, 1)) * 0.5 + like.mean((0, 1))
    return np.asarray(wanted.clip(0, 1), np.float32)


def sharpened(photo: Picture, radius: float = 2, percent: int = 150) -> Picture:
    pixels = Image.fromarray((photo * 255).round().astype(np.uint8))
    return np.asarray(pixels.filter(ImageFilter.UnsharpMask(radius, percent, 0)), np.float32) / np.float32(255)


def blurred(photo: Picture, radius: float = 1.5) -> Picture:
    pixels = Image.fromarray((photo * 255).round().astype(np.uint8))
    return np.asarray(pixels.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)


def by_hand(photo: Picture, like: Picture) -> dict[str, Picture]:
    smooth = abstraction.smoothed(photo)
    lines = abstraction.outlines(abstraction.lightness(smooth))
    flat = abstraction.flats(smooth.copy())
    noise = np.random.default_rng(0).normal(0, 0.05, (*photo.shape[:2], 1)).astype(np.float32)
    return {
        "photograph": photo,
        "flats": flat,
        "flats + ink": abstraction.inked(flat, lines),
        "photograph + ink": abstraction.inked(photo, lines),
        "recoloured": recoloured(photo, like),
        "sharpened": sharpened(photo),
        "blurred": blurred(photo),
        "noise": (photo + noise).clip(0, 1),
    }


def tensor(pictures: list[Picture]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous().float()


def sets(photos: list[Picture], likes: list[Picture], crops: Callable[[Picture], list[Picture]]) -> dict[str, Tensor]:
    made = [by_hand(photo, like) for photo, like in zip(photos, likes, strict=True)]
    return {name: tensor([crop for each in made for crop in crops(each[name])]) for name in made[0]}


@pytest.fixture(scope="module")
def hand_made() -> dict[str, Tensor]:
    """Three crops of each example photograph, and what was made of them."""

    def crops(picture: Picture) -> list[Picture]:
        top = (picture.shape[0] - 96) // 2
        return [picture[top : top + 96, left : left + 96] for left in np.linspace(0, picture.shape[1] - 96, 3).astype(int)]

    paths = sorted(EXAMPLES.glob("*.jpg"))
    return sets([read(path, 240) for path in paths], [cartoon(500 + n) for n in range(len(paths))], crops)


def distances(see: Callable[[Tensor], dict[str, Tensor]], cartoons: list[Tensor], made: dict[str, Tensor]) -> dict[str, float]:
    """Of each hand-made picture, and of other cartoons, whose outlines lie along their own edges."""
    with torch.no_grad():
        distance = measures.DrawingDistance(see, [cartoons[0]], torch.split(made["photograph"], 6))
        found = {name: distance(torch.split(pictures, 6)).item() for name, pictures in made.items()}
        distance.photos = [cartoons[1]]
        return {**found, "cartoons": distance([cartoons[1]]).item()}


def check_order(found: dict[str, float]) -> None:
    """Cartoons < flats + ink < what has one of the two < photographs, however coloured, < what is sharper or grainier."""
    assert found["photograph"] == pytest.approx(1, abs=1e-4)
    assert found["cartoons"] < found["flats + ink"] < 0.8 * min(found["flats"], found["photograph + ink"])
    assert max(found["flats"], found["photograph + ink"]) < 0.95
    assert found["recoloured"] == pytest.approx(1, abs=0.1)
    assert found["flats + ink"] < 0.8 * found["blurred"]
    assert 1.1 < found["sharpened"] < found["noise"]


def random_vgg() -> features.VGG19:
    torch.manual_seed(0)
    vgg = features.VGG19((measures.LAYER,))
    for convolution in vgg.features.values():
        torch.nn.init.kaiming_normal_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
    return vgg


def test_drawing_is_seen_and_colour_is_not(hand_made: dict[str, Tensor]) -> None:
    """With a VGG-19 of random weights, and shapes in outlines for cartoons."""
    check_order(distances(random_vgg(), [tensor([cartoon(seed) for seed in range(start, start + 24)]) for start in (0, 100)], hand_made))


def test_drawing_is_seen_in_real_cartoons() -> None:
    data = Path(os.environ.get("LIMNER_DATA", "nowhere"))
    if not data.is_dir():
        pytest.skip("LIMNER_DATA names no folder of photos/, cartoons/ and VGG-19 weights")

    def centre(picture: Picture) -> list[Picture]:
        top, left = ((side - 128) // 2 for side in picture.shape[:2])
        return [picture[top : top + 128, left : left + 128]]

    drawn = sorted(path for path in (data / "cartoons").glob("*.jpg") if any(artist in path.name for artist in ARTISTS))
    stories = sorted({path.stem.rpartition("-")[0] for path in drawn})
    cartoons = [tensor([centre(read(p, 288))[0] for p in drawn if p.stem.rpartition("-")[0] in stories[n::2]][::4]) for n in (0, 1)]
    paths = sorted((data / "photos").glob("*.jpg"))
    photos = [read(path, 320) for path in paths[:: len(paths) // 24][:24]]
    likes = [picture.permute(1, 2, 0).numpy() for picture in cartoons[0][:24]]
    vgg = features.load((measures.LAYER,), next(data.glob("vgg19*.safetensors")))
    check_order(distances(vgg, cartoons, sets(photos, likes, centre)))


def test_measures_of_one_thing_each(hand_made: dict[str, Tensor]) -> None:
    photos = hand_made["photograph"]
    outlines = {name: measures.outline_strength(pictures, photos).item() for name, pictures in hand_made.items()}
    assert min(outlines["flats + ink"], outlines["photograph + ink"]) > 2 + max(
        outlines["photograph"], outlines["flats"], outlines["sharpened"]
    )
    assert measures.light_rims(photos, photos) == 0
    assert measures.light_rims(hand_made["sharpened"], photos) > 5 > 0 > measures.light_rims(hand_made["flats + ink"], photos)
    noise = {name: measures.flat_noise(pictures, photos).item() for name, pictures in hand_made.items()}
    assert noise["flats"] < 0.5 * noise["photograph"]
    assert 0.05 * 255 * 0.8 < noise["noise"] < 0.05 * 255 * 1.1
    assert measures.skin_hue_shift(photos, photos) == 0
    red, _, blue = hand_made["photograph"].unbind(1)
    turned = torch.stack([red, (hand_made["photograph"][:, 1] + 0.1).clamp(0, 1), blue], 1)
    assert measures.skin_hue_shift(turned, photos) > 15


@pytest.mark.parametrize("period", [2, 4])
def test_spectral_peak_finds_a_pattern_of_its_period_alone(hand_made: dict[str, Tensor], period: int) -> None:
    photos = hand_made["photograph"]
    pattern = 0.04 * torch.cos(2 * torch.pi * torch.arange(96) / period)
    found = {p: measures.spectral_peak(photos + pattern, photos, p).item() for p in (2, 4)}
    assert found.pop(period) > 5
    assert 0.5 < next(iter(found.values())) < 2


def test_shift_change_is_zero_for_what_moves_along(hand_made: dict[str, Tensor]) -> None:
    photos = hand_made["photograph"]
    assert measures.shift_change(lambda x: 1 - x, photos) == 0
    grid = torch.arange(96) % 2 * (8 / 255)
    assert measures.shift_change(lambda x: x + grid[: x.shape[-1]], photos).item() == pytest.approx(8, rel=1e-3)
