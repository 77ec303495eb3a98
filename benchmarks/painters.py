"""What painters' styles do to photographs, side by side: colours against the painting's, strokes, grid, calm.

    python benchmarks/painters.py painting.jpg photos/ great-wave runs-out/my-wave/style.onnx [--vgg vgg19.pth]

One row for the photographs themselves, one for the painting, one for each style; photographs never trained on, please. In the mean:

- ``away``: distance of colours from the painting's, the Wasserstein distance of L, a and b each, in units of CIE Lab
- ``sat``, ``dark``, ``light``, ``grey``: saturation; L of the darkest and the lightest twentieth; share of pixels of chroma below 8
- ``along``: how strokes lie where the photograph has a direction: 1 along it, 0 anyhow, -1 across it
- ``one-way``: in flat areas, how much strokes have a direction in common: 1 all of them, 0 none
- ``contrast``: local deviation of L, in squares of 16 pixels
- ``grid``: change under a shift of the photograph by 1 to 3 pixels, as a part of that under one of 4: above 1.5, a grid of 4 pixels shows
- ``peak``: the strongest single frequency of 2 to 5 pixels' period in flat areas, as a multiple of those around it
- ``noise``: how much of noise of 3/255 comes back, as a multiple
- ``wide``, ``long``: of strokes, in pixels of a short side of 320: how far brightness is like itself by half (its autocorrelation in
  squares of 48 pixels, without what is broader than strokes), in the direction in which that is shortest, and across it
- with ``--vgg``: ``style``, the distance of the features' mean and covariance from the painting's (three sizes), ``0.6``, the same of
  pictures at 0.6 of their size, and ``content``, the distance of relu3_3 from the photograph's, all as parts of what they are compared with
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import limner
from limner.blocks import features
from limner.blocks.abstraction import blurred, coherence, lightness, structure_tensor, tangents
from limner.blocks.painterly import to_lab
from limner.methods import fast_style
from limner.pictures import image

Picture = NDArray[np.float32]

SHORT, MOST = 320, 24
# fmt: off
COLUMNS = [
    "away", "sat", "dark", "light", "grey", "along", "one-way", "contrast", "grid", "peak", "noise",
    "wide", "long", "style", "0.6", "content",
]
# fmt: on


def read(path: Path) -> Picture:
    pixels = image.flat(image.read(path))
    scale = SHORT / min(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.asarray(small[: 2 * SHORT, : 2 * SHORT], np.float32) / np.float32(255)


def colours(pictures: list[Picture], painting: Picture) -> list[float]:
    own, wanted = (np.concatenate([to_lab(each).reshape(-1, 3) for each in some]) for some in (pictures, [painting]))
    steps = np.linspace(0.5, 99.5, 100)
    away = np.abs(np.percentile(own, steps, axis=0) - np.percentile(wanted, steps, axis=0)).mean()
    saturation = np.mean([cv2.cvtColor(each, cv2.COLOR_RGB2HSV)[..., 1].mean() for each in pictures])
    ordered, chroma = np.sort(own[:, 0]), np.hypot(own[:, 1], own[:, 2])
    twentieth = len(ordered) // 20
    return [float(x) for x in (away, saturation, ordered[:twentieth].mean(), ordered[-twentieth:].mean(), (chroma < 8).mean())]


def strokes(picture: Picture, photo: Picture) -> list[float]:
    plane, own = lightness(picture), lightness(photo)
    x, y = tangents(own, 3.0)
    clear = coherence(own, 3.0) > 0.7
    right, down = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
    lengthwise, across = ((right * x + down * y) ** 2)[clear].sum(), ((right * y - down * x) ** 2)[clear].sum()
    flat = flat_areas(own)
    a, b, both = (each[flat].sum() for each in structure_tensor(plane, 1.0))
    deviation = np.sqrt(np.maximum(blurred(plane**2, 5.0) - blurred(plane, 5.0) ** 2, 0)).mean() * 100
    return [
        float((across - lengthwise) / (across + lengthwise + 1e-9)),
        float(np.hypot(a - b, 2 * both) / (a + b + 1e-9)),
        float(deviation),
    ]


def flat_areas(plane: Picture) -> NDArray[np.bool_]:
    """Where a photograph is smooth for 12 pixels around."""
    right, down, _ = structure_tensor(plane, 4.0)
    return np.asarray(cv2.erode((np.sqrt(right + down) < 0.012).astype(np.uint8), np.ones((9, 9), np.uint8)), np.bool_)


def peak(picture: Picture, photo: Picture) -> float:
    """Squares of 64 pixels in flat areas, their spectrum's highest point against the median of its ring; nan without such squares."""
    plane, flat = lightness(picture), flat_areas(lightness(photo))
    window, sums, count = np.outer(np.hanning(64), np.hanning(64)), np.zeros((64, 33)), 0
    for top in range(0, plane.shape[0] - 63, 32):
        for left in range(0, plane.shape[1] - 63, 32):
            here = np.s_[top : top + 64, left : left + 64]
            if flat[here].mean() > 0.9:
                sums, count = sums + np.abs(np.fft.rfft2((plane[here] - plane[here].mean()) * window)) ** 2, count + 1
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)[None])
    rings = [(frequency >= low) & (frequency < low + 0.05) for low in np.arange(0.2, 0.5, 0.05)]
    return max(float(sums[ring].max() / np.median(sums[ring])) for ring in rings) if count else float("nan")


def steady(style: limner.Style, photo: Picture) -> list[float]:
    """Grid and noise."""

    def paint(picture: Picture) -> Picture:
        pixels = (picture * 255 + 0.5).astype(np.uint8)
        return style(np.ascontiguousarray(pixels), working_size="full").astype(np.float32) / np.float32(255)

    whole = paint(photo)
    moved = {k: np.abs(paint(photo[k:, k:]) - whole[k:, k:])[32:-32, 32:-32].mean() for k in (1, 2, 3, 4)}
    grain = np.random.default_rng(0).normal(0, 3 / 255, photo.shape).astype(np.float32)
    noisy = (photo + grain).clip(0, 1)
    return [
        float(np.mean([moved[k] for k in (1, 2, 3)]) / moved[4]),
        float(np.abs(paint(noisy) - whole).mean() / np.abs(noisy - photo).mean()),
    ]


def sizes(picture: Picture) -> list[float]:
    """Width and length of strokes."""
    plane, found = lightness(picture), []
    plane = plane - blurred(plane, 8.0)
    down, right = np.mgrid[-12:13, -12:13]
    for top in range(0, plane.shape[0] - 47, 48):
        for left in range(0, plane.shape[1] - 47, 48):
            square = plane[top : top + 48, left : left + 48]
            spectrum = np.abs(np.fft.rfft2((square - square.mean()) * np.outer(np.hanning(48), np.hanning(48)), (96, 96))) ** 2
            alike = np.fft.fftshift(np.fft.irfft2(spectrum))[36:61, 36:61]
            if alike.max() > 1e-4:  # else there is nothing
                inside = cv2.connectedComponents((alike > alike.max() / 2).astype(np.uint8))[1]
                here = inside == inside[12, 12]
                both = np.cov(np.stack([down[here], right[here]]), bias=True)
                found.append(4 * np.sqrt(np.linalg.eigvalsh(both).clip(0) + 1 / 12))  # a pixel is not a point
    return [float(each) for each in np.mean(found, 0)] if found else [float("nan")] * 2


class Distances:
    """Of features, where VGG-19's weights are given."""

    def __init__(self, vgg: Path, painting: Picture) -> None:
        config = fast_style.Config(style_image=Path(), photos=Path())
        self.layer, self.vgg = config.content_layer, features.load((*config.style_layers, config.content_layer), vgg)
        self.style = fast_style.StyleLoss(self.vgg, config, _batch(painting))

    @torch.no_grad()
    def __call__(self, picture: Picture, photo: Picture) -> list[float]:
        small = cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        style = [float(self.style(batch, self.vgg(batch))) for batch in map(_batch, (picture, small))]
        mine, wanted = (self.vgg(_batch(np.repeat(lightness(each)[..., None], 3, 2)))[self.layer] for each in (picture, photo))
        return [*style, float(fast_style.relative_error(mine, wanted, floor=1e-6))]


def _batch(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32))


def row(name: str, numbers: list[float]) -> str:
    return f"{name:<24}" + "".join(f"{number:>10.2f}" for number in numbers)


def main(chosen: argparse.Namespace) -> None:
    paths = sorted(path for path in chosen.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photos = [read(path) for path in paths[:: max(len(paths) // MOST, 1)]]
    painting = read(chosen.painting)
    distances = None if chosen.vgg is None else Distances(chosen.vgg, painting)

    def apart(pictures: list[Picture]) -> list[float]:
        """Sizes of strokes, and distances."""
        found = [np.nanmean([sizes(each) for each in pictures], 0)]
        if distances is not None:
            found.append(np.mean([distances(*pair) for pair in zip(pictures, photos, strict=True)], 0))
        return [float(each) for each in np.concatenate(found)]

    print(f"{'':<24}" + "".join(f"{column:>10}" for column in COLUMNS))
    nothing = [float("nan")] * 2
    of_photos = np.mean([strokes(each, each) for each in photos], 0)
    print(row("photographs", [*colours(photos, painting), *of_photos, *nothing, 1.0, *apart(photos)]))
    print(row("painting", [*colours([painting], painting), *nothing, strokes(painting, painting)[2], *nothing, 0.0, *sizes(painting)]))
    for name in chosen.styles:
        style = limner.load(name)
        painted = [style((each * 255 + 0.5).astype(np.uint8), working_size="full").astype(np.float32) / np.float32(255) for each in photos]
        drawn = np.mean([strokes(*pair) for pair in zip(painted, photos, strict=True)], 0)
        grid, noise = np.mean([steady(style, each) for each in photos[::4]], 0)
        peaks = [peak(*pair) for pair in zip(painted, photos, strict=True)]
        title = name if len(name) < 24 else Path(name).parent.name
        print(row(title, [*colours(painted, painting), *drawn, grid, float(np.nanmedian(peaks)), noise, *apart(painted)]), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("painting", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("styles", nargs="+")
    parser.add_argument("--vgg", type=Path)
    main(parser.parse_args())
