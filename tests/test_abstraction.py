"""Abstractions: flat areas, lines of ink and colours, each on pictures whose right answer is known; and the whole of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from limner.blocks import abstraction
from limner.blocks.unet import INK, Ramp, UNet

EXAMPLES = Path(__file__).parent.parent / "examples" / "photos"
Picture = NDArray[np.float32]


def example(name: str, short: int = 200) -> Picture:
    with Image.open(EXAMPLES / f"{name}.jpg") as photo:
        scale = short / min(photo.size)
        small = photo.convert("RGB").resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    return (np.asarray(small) / 255).astype(np.float32)


def halves(dark: float = 0.3, light: float = 0.8, size: int = 64) -> Picture:
    picture = np.full((size, size, 3), light, np.float32)
    picture[:, : size // 2] = dark
    return picture


def test_flats_have_fewer_slopes_and_the_same_edges() -> None:
    noisy = (halves() + np.random.default_rng(0).normal(0, 0.03, (64, 64, 3))).astype(np.float32).clip(0, 1)
    flat = abstraction.flats(abstraction.smoothed(noisy))
    assert np.abs(np.diff(noisy, axis=1)).mean() > 40 * np.median(np.abs(np.diff(flat, axis=1)))
    assert flat[8:-8, 40].mean() - flat[8:-8, 24].mean() == pytest.approx(0.5, abs=0.05)


def test_texture_goes_and_large_things_stay() -> None:
    picture = halves()
    picture[::2, ::2] += 0.05
    found = abstraction.without_texture(picture)
    assert found[8:-8, 8:24].std() < 0.5 * picture[8:-8, 8:24].std()
    assert found[:, 40].mean() - found[:, 24].mean() > 0.4


def test_ink_lies_on_the_dark_side_of_an_edge_and_is_a_few_pixels_wide() -> None:
    lines = abstraction.ink(abstraction.lightness(halves()))
    assert lines.min() >= 0
    assert lines.max() <= 1
    across = lines[20:44].mean(0)
    assert across[28:32].max() > 0.8
    assert across[32:].max() < 0.05  # the light side is free
    assert 1.5 <= across.sum() <= 4
    assert lines[:, :20].max() < 0.01
    wide = abstraction.ink(abstraction.lightness(halves()), width=2.2)[20:44].mean(0)
    assert wide.sum() > 1.5 * across.sum()


@pytest.mark.parametrize("angle", [0, 17, 45, 70])
def test_ink_follows_an_edge_of_any_direction(angle: int) -> None:
    down, right = np.mgrid[:96, :96] - 47.5
    side = right * np.cos(np.radians(angle)) + down * np.sin(np.radians(angle))
    plane = (0.3 + 0.5 * (side + 0.5).clip(0, 1)).astype(np.float32)
    lines = abstraction.ink(plane)
    near = (side < -0.7) & (side > -2) & (np.hypot(right, down) < 35)
    assert (lines[near] > 0.4).mean() > 0.95  # no gaps
    assert lines[np.abs(side + 1) > 5].max() < 0.01


def test_coherence_tells_edges_from_foliage() -> None:
    foliage = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    assert abstraction.coherence(abstraction.lightness(halves()), 4.0)[:, 30:34].min() > 0.95
    assert abstraction.coherence(foliage, 4.0).mean() < 0.3


def test_colours_keep_grey_grey_and_hues_their_order() -> None:
    grey = np.full((8, 8, 3), 0.4, np.float32)
    assert np.ptp(abstraction.brightened(grey), axis=2).max() < 1e-6
    assert abstraction.brightened(grey).mean() == pytest.approx(0.4**0.8, rel=1e-4)
    skin = np.full((8, 8, 3), (0.8, 0.6, 0.5), np.float32)
    bright = abstraction.brightened(skin)[0, 0]
    assert bright[0] > bright[1] > bright[2]
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 3, 2).repeat(4, 0)
    steps = abstraction.lightness(abstraction.stepped(ramp, steps=4, share=1.0, sharpness=50))[0]
    assert (np.abs(steps[:, None] - np.array([0.125, 0.375, 0.625, 0.875])).min(1) < 0.03).mean() > 0.7
    own = abstraction.lightness(abstraction.stepped(ramp, share=0.0))[0]
    assert np.abs(own - abstraction.lightness(ramp)[0]).max() < 0.01


def test_faces_are_found_where_they_are() -> None:
    face = abstraction.faces(example("astronaut", 320))
    height, width = face.shape
    down, right = (int(centre) for centre in np.argwhere(face > 0.5).mean(0))
    assert 0.1 * height < down < 0.35 * height
    assert 0.35 * width < right < 0.55 * width
    assert not abstraction.faces(example("coffee", 320)).any()


@pytest.mark.parametrize("name", abstraction.ABSTRACTIONS)
def test_abstractions_are_drawings_of_the_photograph(name: str) -> None:
    photo = example("coffee")
    drawn = abstraction.abstraction(photo, name)
    assert drawn.shape == photo.shape
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert np.array_equal(drawn, abstraction.abstraction(photo, name))  # nothing is left to chance
    light, own = abstraction.lightness(drawn), abstraction.lightness(photo)
    assert np.corrcoef(light.ravel(), own.ravel())[0, 1] > 0.7
    table = np.s_[150:, 10:60]  # wood: its grain is gone
    assert np.abs(np.diff(light[table], axis=1)).mean() < np.abs(np.diff(own[table], axis=1)).mean()
    around = np.s_[20:60, 90:200]  # the cup's rim and the dark behind it
    assert light[around].min() < 0.12  # ink


def test_no_lines_along_the_border() -> None:
    smooth = np.repeat(np.linspace(0.2, 0.9, 80, dtype=np.float32)[None, :, None], 3, 2).repeat(60, 0)
    drawn = abstraction.lightness(abstraction.abstraction(smooth, "storybook"))
    assert drawn[:3].min() > drawn[20:40].min() - 0.02
    assert abstraction.abstraction(smooth[:5, :7]).shape == (5, 7, 3)  # smaller than its margin


def test_threads_find_the_same_faces_at_once() -> None:
    """OpenCV's cascade crashes where two threads search with one."""
    photo = example("astronaut", 160)
    wanted = abstraction.faces(photo)
    assert wanted.max() > 0.5
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(abstraction.faces, [photo] * 24):
            assert np.array_equal(found, wanted)


def test_unet_begins_as_the_photograph_and_stays_in_range() -> None:
    torch.manual_seed(0)
    network, photo = UNet(8, 2, 1).eval(), torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        assert (network(photo) - photo).abs().mean() < 0.1
        network.to_rgb.weight.mul_(100)
        drawn = network(photo)
        assert drawn.min() == 0
        assert drawn.max() == 1
        assert network.train()(photo).max() > 1  # while it learns, nothing is cut off


def test_monochrome_knows_the_colours_of_ink_and_no_others() -> None:
    drawn = torch.from_numpy(abstraction.ink_wash(example("coffee", 128))).permute(2, 0, 1)[None]
    assert (Ramp(INK)(drawn) - drawn).abs().mean() < 2 / 255
    table = torch.tensor(INK)
    torch.testing.assert_close(Ramp(INK)(torch.linspace(0, 1, 9).view(1, 1, 1, 9).repeat(1, 3, 1, 1))[0, :, 0].T, table)
    photo = torch.rand(1, 3, 32, 32)
    painted = UNet(8, 2, 1, monochrome=1).eval()(photo)
    assert (painted[:, 0] - painted[:, 2]).abs().max() < 0.08 < (photo[:, 0] - photo[:, 2]).abs().max()


@pytest.mark.parametrize(("levels", "blocks"), [(1, 2), (2, 1), (3, 1)])
def test_unet_sees_as_far_as_it_says(levels: int, blocks: int) -> None:
    network, widest = UNet(2, levels, blocks).double().train(), 0
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_()  # no two ways cancel one another, and no unit is off
    side = -(-network.receptive_field // 16) * 16 + 32
    for phase in range(2**levels):
        photo = (0.5 + 0.5 * torch.rand(1, 3, 32, side, dtype=torch.double)).requires_grad_()
        (slope,) = torch.autograd.grad(network(photo)[0, :, 16, side // 2 + phase].sum(), photo)
        columns = slope[0].abs().sum((0, 1)).nonzero()
        widest = max(widest, int(columns.max() - columns.min()) + 1)
    assert widest == network.receptive_field
