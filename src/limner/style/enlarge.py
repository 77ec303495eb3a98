"""A painting made at a working size, brought up to its photograph's own size: strokes grow with the picture, their edges stay sharp.

Plain enlargement leaves soft edges with stairs in them, and rings where it tries for more. Here

1. the small painting is smoothed along its edges, never across them, which takes the stairs away (Kyprianidis and Kang, "Image and Video
   Abstraction by Coherence-Enhancing Filtering", Computer Graphics Forum 30(2), 2011);
2. each of its pixels finds the two colours that meet around it, the darkest and the brightest, and how far it is on the way between them;
3. both colours are enlarged softly, and so is the way, which is made steep and cut off at its ends: a shock filter (Osher and Rudin 1990)
   in one step. Each pixel lies on the line between two colours of its surroundings: no ringing, no halo, no fringe;
4. where the painting follows the photograph (by a linear regression, as in He and Sun, "Fast Guided Filter", 2015,
   https://arxiv.org/abs/1505.00996), the photograph says where exactly an edge runs: lettering stays readable. Grain and most texture are
   too weak to pass, or were painted over and so are not followed.

All is done in bands of rows, always the same ones for a picture's size: how rows come in and go out makes no difference to any bit.
"""

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from limner.parallel import in_order
from limner.pictures import image
from limner.pictures.scanlines import RowPicture, of
from limner.style.blend import LUMA

Array = NDArray[np.float32]
Pixels = image.Pixels
Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]

EDGE = 1.0
"""Pixels of the small painting that become one of the large one where an edge goes from one colour to the other."""

FLAT = (0.06, 0.2)
"""Distance of two colours (RGB in [0, 1], Euclidean) up to which what lies between them is a shade, and from which on it is an edge."""

DETAIL = 0.07
"""Luma by which the photograph must differ from its reduced form for the painting to follow it: stronger than grain and most texture."""

ALONG = {2: 0.73, 4: 0.28}
"""Where along an edge it is looked at, in pixels to either side, and what that weighs: a Gaussian of 2.5 pixels."""

SEEN = 12
"""Rows of the small pictures, above and below, on which one of their rows depends."""

ROWS, PIXELS, CACHED, COLUMNS = 128, 8_000_000, 65_536, 128
"""Rows of the small picture, and pixels of the large one, that are worked out together, at most; pixels whose planes fit into the cache."""

BANDS = 2
"""Bands at a time: NumPy keeps a core busy, and no more."""

FILES = 4
"""How much longer it takes with a photograph that is read from a file and a painting that is written into one, about."""


def reduced(source: RowPicture, size: tuple[int, int]) -> Pixels:
    """The picture at ``size`` (height, width), no larger than its own: uint8 or uint16 HWC RGB. It is read once, in bands.

    Means of squares first, then Lanczos with at least three pixels for one: as good as Lanczos alone, and much faster.
    """
    square = max(int(min(source.height / size[0], source.width / size[1]) / 3), 1)
    rows = max(PIXELS // source.width // square, 1) * square
    means = np.empty((-(-source.height // square), -(-source.width // square), 3), source.dtype)
    for top in range(0, source.height, rows):
        band = _means(source.rows(top, min(top + rows, source.height)), square)
        means[top // square : top // square + len(band)] = band
    return image.resized(means, size, (0, 0, source.width / square, source.height / square))


def _means(pixels: Pixels, square: int) -> Pixels:
    """Means of squares of pixels; the last ones may be cut off."""
    if square == 1:
        return pixels
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(square))
    planes = [np.asarray(Image.fromarray(pixels[..., channel].astype(np.float32)).reduce(square)) for channel in range(3)]
    return (np.dstack(planes) + np.float32(0.5)).astype(np.uint16)


def enlarged(painted: Pixels, small: Pixels, source: RowPicture) -> Generator[Pixels, None, None]:
    """``painted`` at the size of ``source``, the photograph of which ``small`` is the reduced form that was painted.

    From top to bottom, some rows at a time: uint8 or uint16 HWC RGB, as all the pictures here.
    """
    bands = ((painted, small, top, source.height, source.rows(top, bottom)) for top, bottom in _bands(len(painted), source))
    with ThreadPoolExecutor(BANDS) as pool:
        yield from in_order(pool, _enlarged, bands, ahead=BANDS - 1)


def plainly(painted: Pixels, source: RowPicture) -> Generator[Pixels, None, None]:
    """The same by Lanczos alone: edges are soft. It takes less than a tenth of the time, so that it keeps up with a network for films."""
    scale = source.height / len(painted)
    for top, bottom in _bands(len(painted), source):
        yield image.resized(painted, (bottom - top, source.width), (0, top / scale, painted.shape[1], min(bottom / scale, len(painted))))


def _bands(height: int, source: RowPicture) -> Iterator[tuple[int, int]]:
    """Rows of the large picture that are worked out together: the first one, and the one after the last."""
    rows = max(min(int(ROWS * source.height / height), PIXELS // source.width), 1)
    return ((top, min(top + rows, source.height)) for top in range(0, source.height, rows))


def _enlarged(painted: Pixels, small: Pixels, top: int, height: int, photo: Pixels) -> Pixels:
    """The rows of ``photo``, which begins with row ``top`` of the large picture, of ``height``."""
    scale, full = height / len(painted), np.float32(np.iinfo(photo.dtype).max)
    bottom, width = top + len(photo), photo.shape[1]
    step = max(CACHED // width, 1)
    first, last = _between(top, bottom, scale, len(painted))
    above, below = max(first - SEEN, 0), min(last + SEEN, len(painted))
    planes = _planes(_unit(painted[above:below]), _unit(small[above:below]) @ LUMA, scale)
    planes = planes.rows(first - above, last - above).widened(width, full)
    out = np.empty((bottom - top, width, 3), photo.dtype)
    for start in range(top, bottom, step):
        stop = min(start + step, bottom)
        seen = _between(start, stop, scale, len(painted))
        cubic, linear = (_weights(start, stop, scale, *seen, kernel) for kernel in (_cubic, _triangle))
        own = slice(start - top, stop - top)
        _compose(planes.rows(seen[0] - first, seen[1] - first), photo[own], out[own], cubic, linear)
    return out


def estimate(size: tuple[int, int], small: tuple[int, int]) -> tuple[float, float]:
    """About how many bytes of memory, and how many seconds on this machine, it takes to bring a painting from ``small`` to ``size``."""
    probe = np.zeros((64, 64, 3), np.uint8)
    probe[::8] = 255  # edges are what takes time
    side = min(64 * size[0] // small[0], 2048)
    photo = np.zeros((side, side, 3), np.uint8)
    start = time.perf_counter()
    for _ in enlarged(probe, probe, of(image.Picture(photo))):
        pass
    seconds = (time.perf_counter() - start) * size[0] * size[1] / side**2
    return 16.0 * min(BANDS * PIXELS, size[0] * size[1]), FILES * seconds


def _unit(pixels: Pixels) -> Array:
    return np.divide(pixels, np.float32(np.iinfo(pixels.dtype).max), dtype=np.float32)


class _Planes(NamedTuple):
    """What the large picture is composed of, as planes x rows x W: two to be enlarged by cubic interpolation, seven by linear."""

    cubic: Array
    """How far from the dark colour to the bright one, 0 to 1 and steeper the larger the picture; the photograph's luma."""
    linear: Array
    """The dark colour; what leads from it to the bright one; how far a difference in the photograph's luma leads on this way."""

    def rows(self, start: int, stop: int) -> "_Planes":
        return _Planes(self.cubic[:, start:stop], self.linear[:, start:stop])

    def widened(self, width: int, full: np.float32) -> "_Planes":
        """Enlarged to this width; colours in steps of the pixels' depth, to be rounded by cutting off."""
        linear = self.linear * np.array([full] * 6 + [1], np.float32)[:, None, None]
        linear[:3] += np.float32(0.5)
        return _Planes(_wide(self.cubic, width, _cubic), _wide(linear, width, _triangle))


def _wide(planes: Array, width: int, kernel: Kernel) -> Array:
    narrow = planes.shape[2]
    wide = np.empty((*planes.shape[:2], width), np.float32)
    for start in range(0, width, COLUMNS):
        stop = min(start + COLUMNS, width)
        first, last = _between(start, stop, width / narrow, narrow)
        wide[..., start:stop] = planes[..., first:last] @ _weights(start, stop, width / narrow, first, last, kernel).T
    return wide


def _planes(painted: Array, luma: Array, scale: float) -> _Planes:
    """From the small painting, float32 HWC RGB in [0, 1], and the luma of the small photograph."""
    painted = painted + np.float32(min(scale - 1, 1)) * (_along_edges(painted) - painted)
    dark, bright = (_filtered(_extreme(painted, sign), np.array([0.15, 0.7, 0.15])) for sign in (1, -1))
    lead = bright - dark
    square = _dot(lead, lead)
    edge = _smoothstep((np.sqrt(square) - FLAT[0]) / (FLAT[1] - FLAT[0]))
    steep = 1 + (max(scale / EDGE, 1) - 1) * edge
    way = _dot(painted - dark, lead) / (square + np.float32(1e-5))
    follow = steep * _dot(_followed(painted, luma), lead) / (square + np.float32(1e-3))
    colours = np.dstack([dark, lead, follow]).transpose(2, 0, 1)
    return _Planes(np.stack([steep * (way - np.float32(0.5)) + np.float32(0.5), luma]), np.ascontiguousarray(colours, np.float32))


def _compose(planes: _Planes, photo: Pixels, out: Pixels, cubic: Array, linear: Array) -> None:
    """Rows of the large picture; ``cubic`` and ``linear`` are the weights of the planes' rows for them."""
    way, reduced_luma = cubic @ planes.cubic
    *colours, follow = linear @ planes.linear
    full = np.iinfo(photo.dtype).max
    detail = np.negative(reduced_luma, out=reduced_luma)
    for channel in range(3):
        detail += photo[..., channel] * np.float32(LUMA[channel] / full)
    detail -= np.clip(detail, -DETAIL, DETAIL)
    detail *= follow
    way += detail
    np.clip(way, 0, 1, out=way)
    for channel in range(3):
        lead = colours[3 + channel]
        lead *= way
        lead += colours[channel]
        out[..., channel] = lead


# ------------------------------------------------------------------------------------------------------- rows of planes


def _between(start: int, stop: int, scale: float, height: int) -> tuple[int, int]:
    """The rows of the small picture, of ``height``, between which rows of the large one lie; two more on each side are seen."""
    return max(int((start + 0.5) / scale - 0.5) - 1, 0), min(int((stop - 0.5) / scale - 0.5) + 3, height)


def _weights(start: int, stop: int, scale: float, first: int, last: int, kernel: Kernel) -> Array:
    """Of rows ``first`` to ``last`` of the small picture for rows ``start`` to ``stop`` of the large one."""
    weights = kernel(np.abs((np.arange(start, stop)[:, None] + 0.5) / scale - 0.5 - np.arange(first, last)))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1 - x, 0)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Catmull and Rom's, as Pillow's bicubic."""
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0))


# ------------------------------------------------------------------------------------------------------- the small painting


def _along_edges(painted: Array) -> Array:
    """Smoothed along its edges, where there are any: the mean of what lies on the curve that an edge's direction leads on."""
    padded = np.pad(painted, ((1, 1), (1, 1), (0, 0)), mode="edge")
    down, right = padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]
    tensor = _filtered(np.dstack([_dot(right, right), _dot(down, down), _dot(right, down)]), _gaussian(1.5))
    across, along = tensor[..., 0] - tensor[..., 1], 2 * tensor[..., 2]
    coherence = np.hypot(across, along) / (tensor[..., 0] + tensor[..., 1] + np.float32(4e-3))
    angle = 0.5 * np.arctan2(along, across) + np.float32(np.pi / 2)
    share = _smoothstep((coherence - 0.3) / 0.4)
    rows, columns = np.nonzero(share > 0)
    direction = np.dstack([np.sin(angle), np.cos(angle)])
    own = painted[rows, columns]
    total = own.copy()
    for sign in (-1, 1):
        place = np.stack([rows, columns], 1).astype(np.float32)
        step = sign * direction[rows, columns]
        for weight in ALONG.values():
            place = np.clip(place + 2 * step, 0, np.subtract(painted.shape[:2], 1), dtype=np.float32)
            total += np.float32(weight) * _sampled(painted, place)
            nearest = np.rint(place).astype(np.intp)
            following = direction[nearest[:, 0], nearest[:, 1]]
            step = np.copysign(1, _dot(following, step))[:, None] * following
    result = painted.copy()
    result[rows, columns] += share[rows, columns, None] * (total / np.float32(1 + 2 * sum(ALONG.values())) - own)
    return result


def _sampled(picture: Array, place: Array) -> Array:
    """Its colours at N x 2 places (row, column), by linear interpolation."""
    height, width, _ = picture.shape
    corner = place.astype(np.intp)
    below, right = (place - corner).T[..., None]
    colours, at = picture.reshape(-1, 3), corner @ (width, 1)
    down, across = np.where(corner < (height - 1, width - 1), (width, 1), 0).T
    upper, lower = colours[at], colours[at + down]
    upper += right * (colours[at + across] - upper)
    lower += right * (colours[at + down + across] - lower)
    return np.asarray(upper + below * (lower - upper))


def _extreme(picture: Array, sign: int) -> Array:
    """Of each pixel and the eight around it the darkest colour, or the brightest (``sign`` -1)."""
    luma = sign * (picture @ LUMA)
    for axis in (0, 1):
        margin = [(1, 1) if each == axis else (0, 0) for each in (0, 1)]
        place = sliding_window_view(np.pad(luma, margin, mode="edge"), 3, axis).argmin(2)
        own = np.arange(luma.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
        place = np.clip(own + place - 1, 0, luma.shape[axis] - 1)
        luma, picture = np.take_along_axis(luma, place, axis), np.take_along_axis(picture, place[..., None], axis)
    return picture


def _followed(painted: Array, luma: Array) -> Array:
    """How much each channel of the painting changes where the photograph's luma does; little where that explains little of it."""
    guide = luma[..., None]
    sums = np.dstack([guide, guide**2, painted, guide * painted, _dot(painted, painted)])
    mean, square, mean_painted, product, square_painted = np.split(_filtered(sums, np.full(5, 0.2)), [1, 2, 5, 8], axis=2)
    variance = np.maximum(square - mean**2, 0) + np.float32(1e-3)
    covariance = product - mean * mean_painted
    variance_painted = np.maximum(square_painted - _dot(mean_painted, mean_painted)[..., None], 0) + np.float32(3e-4)
    explained = np.minimum(_dot(covariance, covariance)[..., None] / (variance * variance_painted), 1)
    return _filtered(explained * covariance / variance, np.full(3, 1 / 3))


def _filtered(array: Array, weights: NDArray[np.float64]) -> Array:
    """HWC, filtered down and across; continued by its edges."""
    more = len(weights) // 2
    for axis in (0, 1):
        padded = np.pad(array, [(more, more) if each == axis else (0, 0) for each in range(3)], mode="edge")
        length, array = array.shape[axis], np.zeros_like(array)
        for i, weight in enumerate(weights):
            array += np.float32(weight) * padded[(slice(None),) * axis + (slice(i, i + length),)]
    return array


def _gaussian(deviation: float) -> NDArray[np.float64]:
    reach = int(np.ceil(2.5 * deviation))
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * deviation**2))
    return np.asarray(weights / weights.sum())


def _dot(a: Array, b: Array) -> Array:
    """Of the last axis."""
    return np.asarray(np.einsum("...c,...c->...", a, b), np.float32)


def _smoothstep(x: NDArray[Any]) -> Array:
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)
