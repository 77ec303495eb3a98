"""Gatys: the losses against their formulas, and pictures that become what they should."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from limner.blocks import features
from limner.errors import LimnerError
from limner.methods import gatys
from limner.pictures import image
from limner.training import painting as painting_module
from limner.training.painting import Easel, Options, paint

from .conftest import make_photo

LAYERS = ("relu1_1", "relu1_2")


def texture(seed: int, side: int = 64) -> NDArray[np.uint8]:
    """A painting of its own colours, and of strokes of its own size and direction; uint8 HWC."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    angle, length = random.uniform(0, np.pi), random.uniform(3, 9)
    waves = 0.5 + 0.5 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / length + random.normal(0, 0.4, (side, side)))
    colours = random.uniform(0, 255, (2, 3))
    return np.asarray(waves[..., None] * colours[0] + (1 - waves[..., None]) * colours[1]).astype(np.uint8)


@pytest.fixture
def config(vgg_file: Path) -> gatys.Config:
    return gatys.Config(
        vgg=vgg_file,
        style_layers=LAYERS,
        content_layer="relu2_1",
        size=64,
        smallest=32,
        initial_iterations=30,
        iterations=15,
        content_weight=0.1,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(make_photo(64, 48, seed=4)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def waves(tmp_path: Path) -> Path:
    Image.fromarray(texture(1)).save(tmp_path / "waves.png")
    return tmp_path / "waves.png"


def still(**changes: Any) -> Options:
    return Options(**{"preview_every": 0.0, "precision": "float32", "device": "cpu", **changes})


@pytest.mark.parametrize(("device", "precision", "bf16"), [("cpu", "auto", True), ("gpu", "auto", False), ("gpu", "bf16", True)])
def test_bf16_on_a_gpu_must_be_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: Any, precision: Any, bf16: bool) -> None:
    """There it ended in values that are no numbers."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(painting_module, "has_fast_bf16", lambda device: True)
    assert Easel(tmp_path / "a.png", still(device=device, precision=precision)).bf16 is bf16


def moments(rows: Tensor) -> gatys.Moments:
    return gatys.Moments(rows.mean(0), torch.cov(rows.T, correction=0))


def test_moments_by_hand() -> None:
    feature = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # one picture, two channels, 1 x 2 pixels
    found = gatys.moments(feature)
    assert found.mean.tolist() == [1.5, 1.0]
    assert found.second.tolist() == [[2.5, 0.5], [0.5, 5.0]]
    left = gatys.moments(feature, torch.tensor([[[[1.0, 0.0]]]]))
    assert torch.allclose(left.mean, torch.tensor([1.0, 3.0]), atol=1e-4)
    assert torch.allclose(left.second, torch.tensor([[1.0, 3.0], [3.0, 9.0]]), atol=1e-4)


def test_moments_sum_bf16_features_in_float32() -> None:
    """In bf16, 1 + 1 + ... stops at 256."""
    found = gatys.moments(torch.ones(1, 2, 64, 64, dtype=torch.bfloat16))
    assert found.mean.tolist() == [1, 1]
    assert found.second.tolist() == [[1, 1], [1, 1]]
    assert found.covariance.abs().max() == 0


def test_moments_have_the_gradient_of_what_they_are() -> None:
    torch.manual_seed(0)
    rows, shares = torch.randn(40, 5, dtype=torch.double), torch.rand(40, 1, dtype=torch.double)
    shares /= shares.sum()
    of_mean, of_covariance = torch.randn(5), torch.randn(5, 5)
    ours, theirs = rows.float().requires_grad_(), rows.clone().requires_grad_()
    mean, covariance = gatys.WeightedMoments.apply(ours, shares.float())  # type: ignore[no-untyped-call]
    ((mean * of_mean).sum() + (covariance * of_covariance).sum()).backward()
    expected = (shares * theirs).sum(0)
    centred = theirs - expected
    torch.autograd.backward((expected * of_mean).sum() + ((shares * centred).T @ centred * of_covariance).sum())
    assert torch.allclose(mean.double(), expected, atol=1e-6)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-6)


def test_root_by_newton_schulz() -> None:
    torch.manual_seed(0)
    half = torch.randn(12, 30)
    matrix = half @ half.T / 30
    root, inverse = gatys.inverse_root(matrix)
    assert torch.allclose(root @ root, matrix, atol=1e-3)
    assert torch.allclose(root @ inverse, torch.eye(12), atol=1e-2)


@pytest.mark.parametrize("rank", [0, 1, 8, 64])
def test_wasserstein_distance_stays_finite_for_poor_pictures(rank: int) -> None:
    """A picture of one colour, or of few features, has a covariance that is nearly singular."""
    torch.manual_seed(0)
    flat = torch.rand(64).repeat(4096, 1) + torch.randn(4096, rank) @ torch.randn(rank, 64)
    painting = moments(torch.randn(4096, 64).relu() * torch.logspace(0, -4, 64))
    for ours, theirs in ((flat, painting), (torch.randn(4096, 64).relu(), moments(flat))):
        rows = ours.clone().requires_grad_()
        found = gatys.moments(rows.T.reshape(1, 64, 64, 64))
        distance = gatys.Wasserstein(theirs)(found)
        torch.autograd.backward(distance)
        assert distance.isfinite()
        assert distance > -1e-3
        assert rows.grad is not None
        assert rows.grad.isfinite().all()


def test_wasserstein_distance_of_gaussians() -> None:
    """Against the closed form with eigenvalues in float64, and its gradient against that form's."""
    torch.manual_seed(0)
    a, b = torch.randn(200, 6), torch.randn(200, 6) @ torch.diag(torch.tensor([3.0, 1, 1, 0.5, 0.5, 0.2])) + 1
    ours = a.clone().requires_grad_()
    distance = gatys.Wasserstein(moments(b))(moments(ours))
    torch.autograd.backward(distance)
    exact = a.double().requires_grad_()
    expected = wasserstein(exact, b.double()) / (b.double().square().sum(1).mean())
    torch.autograd.backward(expected)
    assert distance.item() == pytest.approx(expected.item(), rel=1e-3)
    assert ours.grad is not None
    assert exact.grad is not None
    assert torch.allclose(ours.grad.double(), exact.grad, atol=1e-2 * exact.grad.abs().max().item())
    assert abs(gatys.Wasserstein(moments(b))(moments(b)).item()) < 1e-3


def wasserstein(a: Tensor, b: Tensor) -> Tensor:
    means, covariances = [rows.mean(0) for rows in (a, b)], [torch.cov(rows.T, correction=0) for rows in (a, b)]

    def root(matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return torch.matmul(vectors * values.clamp_min(0).sqrt(), vectors.T)

    between = root(root(covariances[1]) @ covariances[0] @ root(covariances[1]))
    return (means[0] - means[1]).square().sum() + covariances[0].trace() + covariances[1].trace() - 2 * between.trace()


def test_gram_loss_is_a_part_of_the_paintings_own_energy() -> None:
    torch.manual_seed(0)
    painting = moments(torch.randn(50, 4))
    assert gatys.Gram(painting)(painting) == 0
    assert gatys.Gram(painting)(moments(torch.zeros(50, 4))) == 1


def test_several_paintings_are_blended_by_their_moments() -> None:
    """A picture that is a quarter of the one and three quarters of the other has their blend, covariance included."""
    torch.manual_seed(0)
    a, b = torch.randn(100, 3) + 2, torch.randn(300, 3) * 2 - 1
    found = gatys.blended([moments(a), moments(b)], [1, 3])
    whole = moments(torch.cat([a, b]))
    assert torch.allclose(found.mean, whole.mean, atol=1e-5)
    assert torch.allclose(found.covariance, whole.covariance, atol=1e-4)


def test_total_variation_by_hand() -> None:
    image = torch.zeros(1, 1, 3, 3)
    image[..., 1, 1] = 1
    assert gatys.total_variation(image).item() == pytest.approx((2 + 2 + (2 + 2) / 2) / 9)


@pytest.mark.parametrize(("pooling", "expected"), [("max", 4.0), ("average", 5.0), ("l2", 0.78 * 30**0.5)])
def test_pooling(pooling: features.Pooling, expected: float) -> None:
    assert features.POOLINGS[pooling](torch.tensor([[[[1.0, 2], [3, 4]]]])).item() == pytest.approx(expected, rel=1e-4)


def test_scales_grow_by_the_root_of_two() -> None:
    assert gatys.scales(gatys.Config(size=512), 1000, 2000) == [128, 181, 256, 362, 512]
    assert gatys.scales(gatys.Config(size=0), 400, 600)[-1] == 600
    assert gatys.scales(gatys.Config(size=512), 200, 256) == [128, 181, 256]  # never enlarged
    assert gatys.scales(gatys.Config(size=100), 400, 400) == [100]
    assert gatys.scales(gatys.Config(**gatys.Config.PRESETS["paper"]), 512, 400) == [512]


def test_features_spared_are_the_same(vgg_file: Path) -> None:
    torch.manual_seed(0)
    vgg = features.load((*LAYERS, "relu2_1"), vgg_file, edge="replicate")
    gradients = []
    for sparing in (False, True):
        vgg.sparing = sparing
        picture = torch.linspace(0, 1, 3 * 40 * 32).view(1, 3, 40, 32).requires_grad_()
        seen = vgg(picture, lambda _, x: x.square().mean())
        sum(seen.values()).backward()
        assert picture.grad is not None
        gradients.append(picture.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)


@pytest.mark.parametrize("form", ["wasserstein", "gram"])
@pytest.mark.parametrize("optimizer", ["adam", "l-bfgs"])
def test_from_noise_the_loss_falls_tenfold_and_the_right_painting_is_found(
    tmp_path: Path, config: gatys.Config, photo: Path, form: Any, optimizer: Any
) -> None:
    """Of twelve paintings, the Gram matrices of the result must be nearest to those of the one that it was painted after."""
    for n in range(12):
        Image.fromarray(texture(n)).save(tmp_path / f"{n}.png")
    losses: list[float] = []

    class Watched(Easel):
        def show(self, painted: Any, losses_now: dict[str, Tensor]) -> None:
            losses.append(losses_now["loss"].item())
            super().show(painted, losses_now)

    config = replace(
        config,
        form=form,
        optimizer=optimizer,
        start="noise",
        smallest=64,
        initial_iterations=120,
        content_weight=0.02,
        tv_weight=0.0,
    )
    easel = Watched(tmp_path / "out.png", still())
    read = [easel.tensor(image.read(tmp_path / f"{n}.png")) for n in range(12)]
    painted = gatys.stylize(easel.tensor(image.read(photo)), [read[5]], config, easel)
    assert losses[-1] < losses[0] / 10
    vgg = features.load(LAYERS, config.vgg)
    ours, theirs = (vgg(painted), [vgg(F.interpolate(each, painted.shape[-2:])) for each in read])
    distances = [sum(gatys.Gram(gatys.moments(seen[layer]))(gatys.moments(ours[layer])).item() for layer in LAYERS) for seen in theirs]
    assert int(np.argmin(distances)) == 5


def test_content_stays(tmp_path: Path, config: gatys.Config, photo: Path, waves: Path) -> None:
    """More content weight, more of the photograph; and not the photograph itself."""
    likeness = []
    for weight in (0.02, 20.0):
        out = tmp_path / f"{weight}.png"
        assert paint(photo, [waves], out, replace(config, content_weight=weight, start="noise"), still())
        pair = [image.read(path).pixels.mean(2).ravel() for path in (photo, out)]
        likeness.append(np.corrcoef(*pair)[0, 1])
    assert likeness[0] < likeness[1] - 0.1
    assert likeness[1] > 0.8


@pytest.mark.parametrize("optimizer", ["adam", "l-bfgs"])
def test_an_interrupted_painting_goes_on_to_the_same_picture(
    tmp_path: Path, config: gatys.Config, photo: Path, waves: Path, monkeypatch: pytest.MonkeyPatch, optimizer: Any
) -> None:
    config = replace(config, optimizer=optimizer)
    assert paint(photo, [waves], tmp_path / "whole.png", config, still())
    show = Easel.show
    for stop in (10, 35):  # in the first scale, and in a later one

        def stopping(self: Easel, painted: Any, losses: dict[str, Tensor], at: int = stop) -> None:
            show(self, painted, losses)
            if self.done == at:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Easel, "show", stopping)
        assert not paint(photo, [waves], tmp_path / "parts.png", config, still())
        assert image.read(tmp_path / "parts.png").pixels.shape == (48, 64, 3)  # what there was is kept, at its full size
        assert (tmp_path / "parts.png.unfinished").exists()
    with pytest.raises(LimnerError, match="begun with other pictures or options"):
        paint(photo, [waves], tmp_path / "parts.png", replace(config, content_weight=3.0), still())
    assert paint(photo, [waves], tmp_path / "parts.png", config, still(overwrite=True))  # which is no reason to begin again
    assert not (tmp_path / "parts.png.unfinished").exists()
    assert (tmp_path / "parts.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


def test_masks_give_each_painting_its_region(tmp_path: Path, config: gatys.Config, photo: Path) -> None:
    red, blue = (np.zeros((64, 64, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = 220, 220
    left = np.zeros((48, 64), np.uint8)
    left[:, :32] = 255
    for name, pixels in {"red": red, "blue": blue, "left": left, "right": 255 - left}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    paintings, masks = ([tmp_path / f"{name}.png" for name in names] for names in (("red", "blue"), ("left", "right")))
    assert paint(photo, paintings, tmp_path / "out.png", replace(config, content_weight=0.01), still(masks=tuple(masks)))
    painted = image.read(tmp_path / "out.png").pixels.astype(float)
    redness = painted[..., 0] - painted[..., 2]
    assert redness[:, :24].mean() > 60
    assert redness[:, 40:].mean() < -60


def test_starts_where_it_is_told(tmp_path: Path, config: gatys.Config, photo: Path, waves: Path) -> None:
    """With next to no iterations, the start is what comes out."""
    config = replace(config, smallest=64, initial_iterations=1, learning_rate=1e-6)

    def white(picture: image.Picture) -> image.Picture:
        return picture.with_pixels(np.full_like(picture.pixels, 255))

    for name, expected, given in (("content", image.read(photo).pixels, None), ("grey", 127.5, None), ("content", 255, white)):
        assert paint(photo, [waves], tmp_path / "out.png", replace(config, start=name), still(overwrite=True), given)
        assert np.abs(image.read(tmp_path / "out.png").pixels - np.asarray(expected, float)).max() <= 1


def test_bit_depth_alpha_and_colours_stay(tmp_path: Path, config: gatys.Config, waves: Path) -> None:
    pixels = np.dstack([make_photo(64, 48, seed=2), np.full((48, 64), 130, np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    deep = image.Picture(np.asarray(make_photo(64, 48, seed=2), np.uint16) * 257)
    image.write(deep, tmp_path / "deep.tif")
    assert paint(tmp_path / "alpha.png", [waves], tmp_path / "a.png", config, still(keep_colors=True))
    result = image.read(tmp_path / "a.png")
    assert result.alpha is not None
    assert (result.alpha == 130).all()
    painted = result.pixels.astype(float)

    def chroma(rgb: Any) -> Any:
        return rgb[..., [0, 2]] - rgb[..., [1]]

    assert np.corrcoef(chroma(painted).ravel(), chroma(pixels.astype(float)).ravel())[0, 1] > 0.9
    assert paint(tmp_path / "deep.tif", [waves], tmp_path / "d.tif", config, still())
    assert image.read(tmp_path / "d.tif").pixels.dtype == np.uint16


def test_memory_is_kept_to_or_refused(tmp_path: Path, config: gatys.Config, photo: Path, waves: Path) -> None:
    names, size = features.VGG19(["relu5_1"]).names, (1000, 1500)

    def sparing(gigabytes: float, size: tuple[int, int] = size) -> bool:
        return Easel(tmp_path / "a.png", still(max_memory=gigabytes)).sparing(names, size, painting=10_000, copies=6)

    whole, spared = (features.memory(names, size, bytes_each=4, sparing=sparing) for sparing in (False, True))
    assert spared < whole
    assert sparing((whole + spared) / 2e9 + 12 * 6 * 1.5e-3)
    assert not sparing(20.0)
    with pytest.raises(LimnerError, match="with `size`") as refused:
        sparing(1.2)
    advised = int(str(refused.value).partition("`size` ")[2].partition(",")[0])
    assert 600 < advised < 1500
    assert sparing(1.2, (advised * 1000 // 1500, advised))  # and that fits
    easel = Easel(tmp_path / "a.png", still(max_memory=spared * 0.8 / 1e9, precision="auto"))
    easel.bf16 = False
    assert easel.sparing(names, size, painting=10_000, copies=6)
    assert easel.bf16, "half as much, rather than nothing at all"
    with pytest.raises(LimnerError, match=r"needs about .* GB of memory, and 0.1 GB are allowed: give more with `max_memory`"):
        paint(photo, [waves], tmp_path / "out.png", config, still(max_memory=0.1))
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(("budget", "low", "high"), [("220s", 170, 235), ("1000s", 490, 530)])
def test_time_is_kept_to(
    tmp_path: Path, config: gatys.Config, photo: Path, waves: Path, monkeypatch: pytest.MonkeyPatch, budget: str, low: float, high: float
) -> None:
    """A clock that goes on with each iteration, and by more with the first at each size: fewer iterations, but some at every size."""
    clock, seen = [0.0], []

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return clock[0]

    monkeypatch.setattr(painting_module, "time", Clock)

    class Timed(Easel):
        def show(self, painted: Any, losses: dict[str, Tensor]) -> None:
            side = painted().shape[-1]
            clock[0] += (side**2 + 80**2) / 1000 + (5 if side not in seen else 0)
            seen.append(side)

    easel = Timed(tmp_path / "out.png", still(time_budget=budget))
    painted = gatys.stylize(easel.tensor(image.read(photo)), [easel.tensor(image.read(waves))], config, easel)
    assert low < clock[0] < high
    assert painted.shape[-2:] == (48, 64)
    assert {side: seen.count(side) >= (4 if budget == "220s" else 15) for side in seen} == {32: True, 45: True, 64: True}


def test_what_is_no_number_is_never_written(tmp_path: Path, config: gatys.Config, photo: Path, waves: Path) -> None:
    with pytest.raises(LimnerError, match="no longer made of numbers"):
        paint(photo, [waves], tmp_path / "out.png", replace(config, optimizer="l-bfgs", learning_rate=1e30), still())
    assert not (tmp_path / "out.png").exists()


def test_small_and_narrow_pictures(tmp_path: Path, config: gatys.Config, waves: Path) -> None:
    Image.fromarray(make_photo(160, 40)).save(tmp_path / "strip.png")
    assert paint(tmp_path / "strip.png", [waves], tmp_path / "out.png", config, still())
    assert image.read(tmp_path / "out.png").pixels.shape == (16, 64, 3)
    with pytest.raises(LimnerError, match=r"strip.png has only 40 x 10 pixels"):
        paint(tmp_path / "strip.png", [waves], tmp_path / "small.png", replace(config, size=40), still())


def test_the_preview_touches_nothing_of_others(tmp_path: Path, config: gatys.Config, photo: Path, waves: Path) -> None:
    mine = tmp_path / "out.png.preview.jpg"
    mine.write_bytes(b"mine")
    assert paint(photo, [waves], tmp_path / "out.png", config, still())
    assert mine.read_bytes() == b"mine"
    assert paint(photo, [waves], tmp_path / "other.png", config, still(preview_every=1e-9))
    assert not list(tmp_path.glob("other.png.*"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"out": "photo.gif2"}, "no ending of a picture"),
        ({"paintings": 0}, "at least one painting"),
        ({"style_weights": (1.0, 2.0)}, "`style_weights` needs one number for each"),
        ({"masks": 2}, "`masks` needs one picture for each"),
        ({"there": True}, "is there already: set `overwrite`"),
        ({"out": "x" * 210 + ".png"}, "too long for a file's name"),
    ],
)
def test_bad_input(tmp_path: Path, config: gatys.Config, photo: Path, waves: Path, changes: dict[str, Any], sentence: str) -> None:
    out = tmp_path / changes.get("out", "out.png")
    if changes.get("there"):
        out.write_bytes(b"mine")
    config = replace(config, style_weights=changes.get("style_weights", ()))
    options = still(masks=(photo,) * changes.get("masks", 0))
    with pytest.raises(LimnerError, match=sentence):
        paint(photo, [waves] * changes.get("paintings", 1), out, config, options)
    assert not changes.get("there") or out.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "bad",
    [
        {"size": 8},
        {"smallest": 8},
        {"style_layers": ()},
        {"layer_weights": (1.0,)},
        {"style_scale": 0.0},
        {"content_weight": -1.0},
        {"seed": 2**70},
        {"layer_weights": (0.0,) * 5},
    ],
)
def test_impossible_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(LimnerError, match=f"`{next(iter(bad))}`"):
        gatys.Config(**bad)


@pytest.mark.parametrize("bad", [{"time_budget": "soon"}, {"max_memory": -1.0}, {"preview_every": -1.0}, {"quality": 500}])
def test_impossible_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(LimnerError, match=f"`{next(iter(bad))}`"):
        Options(**bad)


@pytest.fixture
def quick(config: gatys.Config) -> Iterator[list[str]]:
    layers = [word for layer in LAYERS for word in ("--style-layers", layer)]
    yield ["--vgg", str(config.vgg), *layers, "--content-layer", "relu2_1", "--size", "48", "--smallest", "48", "--initial-iterations", "3"]


def test_from_the_command_line(tmp_path: Path, photo: Path, waves: Path, style_file: Path, quick: list[str]) -> None:
    def limner(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "limner", "paint", *words], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}
        )

    done = limner(str(photo), str(waves), *quick, "--init", str(style_file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "photo.waves.png")
    assert image.read(tmp_path / "photo.waves.png").pixels.shape == (36, 48, 3)
    assert not list(tmp_path.glob("*preview*"))
    missing = limner(str(photo), str(tmp_path / "none.jpg"), *quick)
    assert missing.returncode == 2
    assert "none.jpg does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr
