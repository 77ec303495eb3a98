"""Painterly pictures of photographs: the painting's colours, and strokes along the photograph's own forms."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from limner.blocks import abstraction, canvas, painterly
from tests.test_abstraction import example

Picture = NDArray[np.float32]


def painting(seed: int = 0) -> Picture:
    """A night: navy, blue and a little yellow, in blots."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((160, 200)).astype(np.float32), (0, 0), 6)
    steps = np.digitize(noise, np.quantile(noise, [0.4, 0.85]))
    return np.asarray(np.array([[0.06, 0.08, 0.25], [0.2, 0.35, 0.65], [0.9, 0.8, 0.3]])[steps], np.float32)


def distance(picture: Picture, to: Picture) -> float:
    """Of colours: how far, in Lab, each tenth pixel is from the nearest in ``to``, in the mean."""
    own, others = (painterly.to_lab(each).reshape(-1, 3)[:: 10 if each is picture else 40] for each in (picture, to))
    return float(np.sqrt(((own[:, None] - others) ** 2).sum(2).min(1)).mean())


def photo_of_stripes(angle: float, size: int = 96) -> Picture:
    down, right = np.mgrid[:size, :size].astype(np.float32)
    wave = np.sin(2 * np.pi * (right * np.cos(np.radians(angle)) + down * np.sin(np.radians(angle))) / 24)
    return np.repeat((0.5 + 0.3 * wave)[..., None], 3, 2).astype(np.float32)


def test_a_palette_is_what_is_in_the_painting() -> None:
    found = painterly.palette(painting(), 3)
    wanted = painterly.to_lab(np.array([[[0.06, 0.08, 0.25], [0.2, 0.35, 0.65], [0.9, 0.8, 0.3]]], np.float32))[0]
    assert np.abs(found.colours - wanted).max() < 3
    assert (np.diff(found.light) >= 0).all()
    assert (np.diff(found.chroma) >= 0).all()
    assert found.cast[0, 1] < -10 < 10 < found.cast[-1, 1]  # black leans to navy, white to yellow


def test_lights_are_those_of_areas_where_they_are_asked_for() -> None:
    """A blue night with yellow stars of a few pixels: what is light in a photograph is a sky more often than a star."""
    night = np.full((320, 400, 3), (0.2, 0.35, 0.65), np.float32)
    for row, column in np.random.default_rng(0).integers(0, 312, (110, 2)):
        night[row : row + 8, column : column + 8] = (0.95, 0.9, 0.4)
    whole, areas = painterly.palette(night, 3), painterly.palette(night, 3, areas=16)
    assert whole.light[-1] > 85
    assert 40 < areas.light[-1] < 65
    assert whole.cast[-1, 1] > 40
    assert areas.cast[-1, 1] < 0
    assert abs(areas.light[0] - whole.light[0]) < 1
    paper = np.full((64, 64, 3), 0.95, np.float32)
    assert painterly.to_lab(painterly.recoloured(paper, whole))[0, 0, 2] > 10
    assert painterly.to_lab(painterly.recoloured(paper, areas))[0, 0, 2] < 0


def test_gathered_bristles_are_strokes_with_borders() -> None:
    """On a level flow, by how much of the height is in few steep slopes between rows."""
    level = np.ones((256, 256), np.float32)
    bristles = painterly.drawn_out(canvas.bristles()[..., :2].copy(), level, 0 * level, 14)
    strokes = painterly.gathered(bristles, level, 0 * level)

    def steepness(planes: Picture) -> float:
        slopes = np.abs(np.diff(cv2.GaussianBlur(planes, (0, 0), 0.5), axis=0))
        return float((slopes**4).mean() / (slopes**2).mean() ** 2)

    assert steepness(strokes) > 1.15 * steepness(bristles)
    assert np.corrcoef(strokes[..., 0].ravel(), bristles[..., 0].ravel())[0, 1] > 0.8


def test_bristles_are_what_neighbouring_strokes_differ_in() -> None:
    """Stripes of two pixels that are lighter and yellower, on grey."""
    lab = np.full((320, 320, 3), (50, 0, 0), np.float32)
    lab[np.arange(320) // 3 % 2 == 0] += np.float32([8, 0, 16])
    first, second = painterly.palette(painterly.to_rgb(lab), 3).bristles
    assert np.dot(first, (8, 0, 16)) / (np.linalg.norm(first) * np.hypot(8, 16)) > 0.99
    assert 3 < np.linalg.norm(first) < 9
    assert np.linalg.norm(second) < 1
    grain = np.random.default_rng(0).random((320, 320, 3)).astype(np.float32)
    assert np.linalg.norm(painterly.palette(grain).bristles, axis=1).max() <= painterly.GRAIN + 1e-3


def test_a_dull_scan_is_graded_and_a_lively_one_is_not() -> None:
    lively = np.random.default_rng(0).random((60, 80, 3)).astype(np.float32)
    dull = 0.35 + 0.3 * (0.7 * lively + 0.3 * lively.mean(2, keepdims=True))

    def measured(picture: Picture) -> tuple[float, float, float]:
        lab = painterly.to_lab(picture)
        return *np.percentile(lab[..., 0], (1, 99)), np.percentile(np.hypot(lab[..., 1], lab[..., 2]), 90)

    (_, _, before), (low, high, after) = measured(dull), measured(painterly.graded(dull))
    assert low < 8
    assert 1.5 < (high - low) / np.subtract(*measured(dull)[1::-1]) < 1.7
    assert 1.6 < after / before <= 1.81
    assert np.abs(painterly.to_lab(painterly.graded(lively)) - painterly.to_lab(lively)).mean() < 6


def test_colours_come_nearer_to_the_painting_and_warm_things_stay_warm() -> None:
    colours = painterly.palette(painting())
    for name in ("china", "rocket"):
        photo = example(name)
        assert distance(painterly.recoloured(photo, colours), painting()) < 0.75 * distance(photo, painting())
    skin, grey = (np.full((4, 4, 3), colour, np.float32) for colour in ((0.85, 0.55, 0.4), (0.5, 0.5, 0.5)))
    assert painterly.to_lab(painterly.recoloured(skin, colours))[0, 0, 2] > 10
    assert painterly.to_lab(painterly.recoloured(grey, colours))[0, 0, 2] < -10


def test_photographs_become_as_colourful_as_the_painting() -> None:
    """Of two paintings with the same hues, one is pale: so are its pictures."""
    lively = painting()
    pale = (0.3 * lively + 0.7 * lively.mean(2, keepdims=True)).astype(np.float32)
    found = []
    for each in (lively, pale):
        lab = painterly.to_lab(painterly.recoloured(example("china"), painterly.palette(each)))
        found.append(np.hypot(lab[..., 1], lab[..., 2]).mean())
    assert found[1] < 0.6 * found[0]


def test_each_pixel_is_recoloured_by_itself() -> None:
    photo, colours = example("coffee"), painterly.palette(painting())
    whole = painterly.recoloured(photo, colours)
    assert np.abs(painterly.recoloured(photo[40:80, 30:90], colours) - whole[40:80, 30:90]).max() < 1e-5


def agreement(plane: Picture, x: Picture, y: Picture, where: NDArray[np.bool_] | None = None) -> float:
    """How well slopes of ``plane`` cross the directions: 1 where all do, 0 where they do not care, -1 where they run along them."""
    right, down = np.gradient(plane, axis=1), np.gradient(plane, axis=0)
    along, across = (right * x + down * y) ** 2, (right * y - down * x) ** 2
    where = np.ones(plane.shape, bool) if where is None else where
    return float((across - along)[where].sum() / (across + along)[where].sum())


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_bristles_lie_along_the_forms(angle: float) -> None:
    photo = photo_of_stripes(angle)
    x, y = painterly.directions(abstraction.lightness(photo), canvas.repeated(canvas.bristles(), 96, 96)[..., 2:])
    along = np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    assert np.abs(x * along[0] + y * along[1])[10:-10, 10:-10].mean() > 0.97
    bristles = painterly.drawn_out(canvas.repeated(canvas.bristles(), 96, 96)[..., 0], x, y, 14)
    level = canvas.bristles()[:96, :96, 0]
    assert agreement(bristles, x, y) > 0.8
    assert abs(agreement(level, x, y)) < 0.2


def test_flow_follows_a_photograph_and_fills_its_skies() -> None:
    photo, colours = example("china"), painterly.palette(painting())
    painted = painterly.painted(photo, "flow", colours)
    x, y = abstraction.tangents(abstraction.lightness(photo), 3.0)
    strong = abstraction.coherence(abstraction.lightness(photo), 3.0) > 0.6
    light, own = abstraction.lightness(painted), abstraction.lightness(painterly.recoloured(photo, colours))
    assert agreement(light, x, y, strong) > 0.5
    sky = np.s_[5:40, 5:60]
    assert light[sky].std() > 3 * own[sky].std()
    assert np.corrcoef(cv2.GaussianBlur(light, (0, 0), 4).ravel(), cv2.GaussianBlur(own, (0, 0), 4).ravel())[0, 1] > 0.9


def test_larger_strokes_are_larger() -> None:
    """Of a grey wall, by how far lightness is like its neighbour's."""
    wall, colours = np.full((128, 128, 3), 0.5, np.float32), painterly.palette(painting())

    def width(size: float) -> float:
        light = abstraction.lightness(painterly.painted(wall, "flow", colours, size))
        light = light - light.mean()
        return float((light[:, 2:] * light[:, :-2]).mean() / light.var())

    assert width(0.5) < width(1.0) < width(2.0)


def test_a_woodblock_has_few_colours_and_dark_outlines() -> None:
    photo = example("coffee", 260)
    colours = painterly.palette_for("woodblock", painting())
    print_ = painterly.painted(photo, "woodblock", colours)
    flow = painterly.painted(photo, "flow", painterly.palette(painting()))

    def flat(picture: Picture) -> float:
        return float((np.abs(np.diff(picture, axis=1)).max(2) < 1 / 255).mean())

    assert flat(print_) > flat(photo) + 0.1 > flat(flow)
    ink = painterly.to_rgb(colours.colours[None, :1])[0, 0]
    assert (np.abs(print_ - ink).max(2) < 0.1).mean() > 0.02


@pytest.mark.parametrize("name", painterly.PAINTERLY)
def test_painterly_pictures_are_pictures_and_nothing_is_left_to_chance(name: str) -> None:
    photo, colours = example("astronaut", 120), painterly.palette_for(name, painting())
    found = painterly.painted(photo, name, colours)
    assert found.shape == photo.shape
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.array_equal(found, painterly.painted(photo, name, painterly.palette_for(name, painting())))
    assert painterly.painted(photo[:5, :7], name, colours).shape == (5, 7, 3)


def test_no_frame() -> None:
    """Contrast along the border is that of the middle."""
    wall, colours = np.full((160, 160, 3), 0.5, np.float32), painterly.palette(painting())
    light = abstraction.lightness(painterly.painted(wall, "flow", colours))
    border = np.concatenate([light[:6].ravel(), light[-6:].ravel(), light[:, :6].ravel(), light[:, -6:].ravel()])
    assert 0.6 < border.std() / light[40:-40, 40:-40].std() < 1.6
    assert abs(border.mean() - light.mean()) < 0.02
