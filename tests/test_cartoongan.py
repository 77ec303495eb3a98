"""CartoonGAN against its paper: networks, losses, edges, and a training that turns photographs into cartoons."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors.torch import load_file
from torch import nn

from limner import load
from limner.blocks import abstraction, adversarial, edge_smoothing, features
from limner.blocks.drawing import drawing_loss, luma
from limner.errors import LimnerError
from limner.methods import cartoongan
from limner.pictures.sources import open_source
from limner.prepare import abstractions, copies
from limner.prepare import edge_smoothed as prepared
from limner.training import checkpoint, data, trainer
from tests import test_cli
from tests.conftest import make_photo
from tests.runs import lines, options, same, weights
from tests.test_cli import Call
from tests.test_resume import failing_at

limner = test_cli.limner  # the fixture

PAPER = cartoongan.Config(Path(), Path(), **cartoongan.Config.PRESETS["paper"])


# ---------------------------------------------------------------------------------------------------------------- networks


def test_parameters() -> None:
    def count(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert count(cartoongan.build(PAPER)) == 11_129_667
    assert count(cartoongan.Discriminator(PAPER.discriminator_width)) == 1_129_665
    light = count(cartoongan.build(cartoongan.Config(Path(), Path())))
    assert light == 1_731_123
    assert 2 * light < 6e6  # bytes in half precision


def shapes(network: nn.Module, size: int) -> list[tuple[str, int, int, int]]:
    """(kind, channels, height, kernel) of each layer's output, in the order in which they run."""
    found: list[tuple[str, int, int, int]] = []
    kinds = {nn.Conv2d: "conv", nn.ConvTranspose2d: "up", nn.GroupNorm: "norm", nn.ReLU: "relu", nn.LeakyReLU: "leaky"}

    def note(module: Any, _: object, output: torch.Tensor) -> None:
        found.append((kinds[type(module)], output.shape[1], output.shape[2], getattr(module, "kernel_size", (0,))[0]))

    for module in network.modules():
        if type(module) in kinds:
            module.register_forward_hook(note)
    with torch.no_grad():
        network(torch.rand(1, 3, size, size))
    return found


def test_generator_is_figure_2_layer_by_layer() -> None:
    def stage(*convolutions: tuple[str, int, int, int]) -> list[tuple[str, int, int, int]]:
        _, channels, height, _ = convolutions[-1]
        return [*convolutions, ("norm", channels, height, 0), ("relu", channels, height, 0)]

    block = [*stage(("conv", 256, 16, 3)), ("conv", 256, 16, 3), ("norm", 256, 16, 0)]
    assert shapes(cartoongan.build(PAPER), 64) == [
        *stage(("conv", 64, 64, 7)),
        *stage(("conv", 128, 32, 3), ("conv", 128, 32, 3)),
        *stage(("conv", 256, 16, 3), ("conv", 256, 16, 3)),
        *(8 * block),
        *stage(("up", 128, 32, 3), ("conv", 128, 32, 3)),
        *stage(("up", 64, 64, 3), ("conv", 64, 64, 3)),
        ("conv", 3, 64, 7),
    ]


def test_discriminator_is_figure_2_layer_by_layer() -> None:
    def leaky(channels: int, height: int, *, norm: bool = False) -> list[tuple[str, int, int, int]]:
        normed = [("norm", channels, height, 0)] if norm else []
        return [("conv", channels, height, 3), *normed, ("leaky", channels, height, 0)]

    assert shapes(cartoongan.Discriminator(), 64) == [
        *leaky(32, 64),
        *(*leaky(64, 32), *leaky(128, 32, norm=True)),
        *(*leaky(128, 16), *leaky(256, 16, norm=True)),
        *leaky(256, 16, norm=True),
        ("conv", 1, 16, 3),
    ]


def test_discriminator_sees_37_pixels() -> None:
    network = cartoongan.Discriminator(4).double()
    for k, module in enumerate(network):
        if isinstance(module, nn.GroupNorm):
            network[k] = nn.Identity()
    picture = torch.rand(1, 3, 96, 96, dtype=torch.double, requires_grad=True)
    network(picture)[0, 0, 12, 12].backward()
    assert picture.grad is not None
    columns = picture.grad[0].abs().sum((0, 1)).nonzero()
    assert columns.max() - columns.min() + 1 == 37


@pytest.mark.parametrize("transposed", [0, 1])
def test_receptive_field_of_both_ways_up(transposed: int) -> None:
    from tests.test_methods import _without_norm_and_relu

    network, widest = _without_norm_and_relu(cartoongan.Generator(4, 1, transposed).double()), 0
    for phase in range(4):
        picture = torch.rand(1, 3, 8, 128, dtype=torch.double, requires_grad=True)
        network(picture)[0, :, 4, 64 + phase].sum().backward()
        assert picture.grad is not None
        columns = picture.grad[0].abs().sum((0, 1)).nonzero()
        widest = max(widest, int(columns.max() - columns.min()) + 1)
    assert widest == network.receptive_field


# ------------------------------------------------------------------------------------------------------------------ losses


def test_adversarial_losses_by_hand() -> None:
    scores = torch.tensor([0.0, 2.0])
    assert adversarial.hinge(scores, real=True).item() == pytest.approx((1 + 0) / 2)
    assert adversarial.hinge(scores, real=False).item() == pytest.approx((1 + 3) / 2)
    assert adversarial.least_squares(scores, real=True).item() == pytest.approx((1 + 1) / 2)
    assert adversarial.least_squares(scores, real=False).item() == pytest.approx((0 + 4) / 2)
    d = [1 / (1 + math.exp(-s)) for s in (0.0, 2.0)]
    assert adversarial.log_loss(scores, real=True).item() == pytest.approx(-(math.log(d[0]) + math.log(d[1])) / 2)
    assert adversarial.log_loss(scores, real=False).item() == pytest.approx(-(math.log(1 - d[0]) + math.log(1 - d[1])) / 2)


def test_content_loss_by_hand() -> None:
    photo = torch.tensor([[[[2.0, -2.0]]], [[[10.0, 30.0]]]])
    other = torch.tensor([[[[3.0, -2.0]]], [[[10.0, 10.0]]]])
    assert cartoongan.content_loss(other, photo, "plain").item() == pytest.approx((0.5 + 10) / 2)
    assert cartoongan.content_loss(other, photo).item() == pytest.approx((0.25 + 0.5) / 2, rel=1e-3)
    assert cartoongan.content_loss(7 * other, 7 * photo).item() == pytest.approx(cartoongan.content_loss(other, photo).item(), rel=1e-3)


def test_colour_loss_sees_tint_and_brightness_but_no_lines() -> None:
    photo = torch.full((1, 3, 32, 32), 0.5)
    assert cartoongan.colour_loss(photo, photo) == 0
    assert cartoongan.colour_loss(photo + 0.2, photo).item() == pytest.approx(4 * 0.2, rel=1e-3)  # of grey, there is luma alone
    red = photo + torch.tensor([0.3, 0.0, 0.0]).view(1, 3, 1, 1)
    away = [0.701 * 0.3, 0.299 * 0.3, 0.299 * 0.3]  # of red, green and blue from luma
    huber = (0.1 * (away[0] - 0.05) + 0.5 * away[1] ** 2 + 0.5 * away[2] ** 2) / 3
    assert cartoongan.colour_loss(red, photo).item() == pytest.approx(4 * 0.1 + 10 * huber, rel=1e-3)
    lines_drawn = photo + 0.4 * torch.tensor([1.0, -1.0]).repeat(16)  # grey, and as bright on average
    assert cartoongan.colour_loss(lines_drawn, photo).item() == pytest.approx(0, abs=1e-6)
    assert cartoongan.colour_loss(photo + 0.8, photo + 0.5).item() == pytest.approx(4 * (0.3 + 0.3), rel=1e-3)  # 0.3 are out of range


def test_drawing_loss_minds_lines_more_than_areas() -> None:
    target = torch.full((1, 3, 32, 32), 0.8)
    target[..., 15:17] = 0.1  # a line, 0.7 darker than its surroundings
    assert drawing_loss(target, target) == 0
    elsewhere, missing = target.clone(), target.clone()
    elsewhere[..., 4:6] -= 0.7
    missing[..., 15:17] += 0.7
    plain, counted = (drawing_loss(each, target, 3.0).item() for each in (elsewhere, missing))
    slopes = 2 * 0.7 / 31
    assert plain == pytest.approx(0.7 * 2 / 32 + slopes, rel=1e-3)
    assert counted == pytest.approx(4 * 0.7 * 2 / 32 + slopes, rel=1e-3)
    assert drawing_loss(missing, target, 0.0).item() == pytest.approx(plain, rel=1e-3)


def test_the_paper_has_no_terms_of_ours() -> None:
    assert (PAPER.generator, PAPER.target, PAPER.upsampling, PAPER.discriminator_norm) == ("paper", "photo", "transposed", "instance")
    assert (PAPER.adversary, PAPER.content_measure, PAPER.colour_weight, PAPER.clipping) == ("colour", "plain", 0, 0)
    assert (PAPER.adversarial_loss, PAPER.edge_weight, PAPER.content_weight, PAPER.content_layers) == ("log", 1, 10, ("conv4_4",))


@pytest.mark.parametrize(
    "bad",
    [
        *({"steps": 0}, {"initial_steps": -1}, {"initial_steps": 20_000}, {"batch_size": 0}, {"image_size": 30}, {"image_size": 34}),
        *({"cartoon_min_scale": 0.0}, {"cartoon_max_scale": 0.3}, {"width": 0}, {"levels": 6}, {"photo_size": 100}, {"working_size": 9}),
        *({"blocks": -1}, {"content_weight": -1.0}, {"learning_rate": 0.0}, {"content_layers": ()}, {"clipping": -1.0}),
        *({"pool": -1}, {"edge_kernel": 4}),
    ],
)
def test_impossible_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(LimnerError, match=f"`{next(iter(bad))}`"):
        cartoongan.Config(Path(), Path(), **bad)


# ------------------------------------------------------------------------------------------------------- pool and distance


def test_pool_gives_old_and_new() -> None:
    pool = adversarial.ImagePool(5)
    batches = [torch.full((2, 1, 1, 1), float(step)) for step in range(60)]
    out = [pool.swap(batch) for batch in batches]
    assert all(torch.equal(a, b) for a, b in zip(out[:2], batches[:2], strict=True))  # it fills up first
    older = sum((a != b).sum().item() for a, b in zip(out[3:], batches[3:], strict=True))
    assert 35 < older < 80  # about half of 114
    assert len(pool.pictures) == 5
    assert torch.equal(adversarial.ImagePool(0).swap(batches[7]), batches[7])


def test_pool_goes_on_exactly() -> None:
    torch.manual_seed(0)
    batches = torch.rand(30, 2, 3, 4, 4)
    whole, broken = adversarial.ImagePool(5), adversarial.ImagePool(5)
    expected = [whole.swap(batch) for batch in batches]
    for batch in batches[:13]:
        broken.swap(batch)
    resumed = adversarial.ImagePool(5, seed=9)
    resumed.load_state_dict(broken.state_dict())
    for k in range(13, 30):
        assert torch.equal(resumed.swap(batches[k]), expected[k])


def test_kernel_distance_by_hand() -> None:
    a, b = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [2.0], [-1.0]])
    k = [(x * y + 1) ** 3 for x, y in ((1, 3), (0, 2), (0, -1), (2, -1))]
    between = sum((x * y + 1) ** 3 for x in (1, 3) for y in (0, 2, -1)) / 6
    assert adversarial.mmd(a, b).item() == pytest.approx(k[0] + sum(k[1:]) / 3 - 2 * between)


def test_kernel_distance_is_zero_within_a_set_and_not_between() -> None:
    """Unbiased: two halves of the same set are zero apart on average, which a biased estimate never is."""
    torch.manual_seed(0)
    same_set = torch.stack([adversarial.mmd(torch.randn(12, 6), torch.randn(12, 6)) for _ in range(300)])
    other_set = torch.stack([adversarial.mmd(torch.randn(12, 6), torch.randn(12, 6) + 0.7) for _ in range(300)])
    assert abs(same_set.mean()) < 3 * same_set.std() / 300**0.5
    assert other_set.mean() > 10 * same_set.mean().abs()


# ------------------------------------------------------------------------------------------------------------------- edges


def cartoon(seed: int, size: int = 64) -> NDArray[np.uint8]:
    """Flat colours with dark outlines; uint8 HWC."""
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (size, size), tuple(random.integers(120, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for shape in (draw.ellipse, draw.rectangle, draw.ellipse):
        left, top = random.integers(2, size // 2, 2)
        side = int(random.integers(size // 4, size // 2 - 2))
        shape([left, top, left + side, top + side], fill=tuple(random.integers(60, 256, 3).tolist()), outline=(15, 10, 20), width=3)
    return np.array(picture)


def as_batch(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def test_edges_are_blurred_and_nothing_else() -> None:
    pixels = cartoon(0)
    smoothed, mask = edge_smoothing.edge_smoothed(pixels)
    changed = (smoothed != pixels).any(2)
    assert 0.1 < changed.mean() < 0.7
    assert not (changed & ~mask).any()
    near = [
        edge_smoothing.canny(edge_smoothing.luma(np.roll(pixels, (y, x), (0, 1))), 100, 200) for y in range(-2, 3) for x in range(-2, 3)
    ]
    inside = np.s_[8:-8, 8:-8]
    assert np.array_equal(np.logical_or.reduce(near)[inside], mask[inside])  # nothing is farther than two pixels from an edge

    def steepest(picture: NDArray[np.uint8]) -> int:
        return int(np.abs(np.diff(picture.astype(int), axis=1)).max())

    assert steepest(smoothed) < 0.6 * steepest(pixels)
    flat = np.full((32, 32, 3), 100, np.uint8)
    ramp = np.repeat(np.linspace(50, 200, 64).astype(np.uint8)[None, :, None], 3, 2).repeat(64, 0)
    for untouched in (flat, ramp):
        assert np.array_equal(edge_smoothing.edge_smoothed(untouched)[0], untouched)
    assert not np.array_equal(edge_smoothing.edge_smoothed(pixels, blur="mean")[0], smoothed)


def per_pixel(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The loop of the ports: each pixel near an edge is the Gaussian mean of the 5 x 5 around it."""
    line = np.exp(-0.5 * (np.arange(-2, 3) / 1.1) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)), mode="reflect").astype(float)
    out = pixels.astype(float)
    for y, x in np.argwhere(mask):
        for channel in range(3):
            out[y, x, channel] = (padded[y : y + 5, x : x + 5, channel] * kernel).sum()
    return out


def test_smoothed_edges_are_the_loop_of_the_ports() -> None:
    for seed in range(4):
        pixels = cartoon(seed)
        smoothed, mask = edge_smoothing.edge_smoothed(pixels)
        assert np.abs(smoothed - per_pixel(pixels, mask)).max() <= 0.51


def test_weak_edges_count_where_they_lead_on_from_strong_ones() -> None:
    grey = np.full((40, 40), 100, np.float32)
    grey[:20, 20:] += 70  # 280 by Sobel
    grey[20:, 20:] += 30  # 120: between the thresholds, and joined to the one above
    found = edge_smoothing.canny(grey, 100, 200)
    assert found[:18].any(1).all()
    assert found[22:].any(1).all()
    grey[:20] = 100
    assert not edge_smoothing.canny(grey, 100, 200).any()


def test_prepare_edges(limner: Call, tmp_path: Path) -> None:
    folder = tmp_path / "cartoons"
    folder.mkdir()
    for n in range(3):
        Image.fromarray(cartoon(n, 50 + n)).save(folder / f"{n}.png")
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(folder / "flat.png")
    (folder / "letter.png").write_text("a letter")
    code, out, err = limner("prepare", "edges", folder, "-o", tmp_path / "edges")
    assert code == 0, err
    assert "4 pictures written" in out
    assert "letter.png" in err
    source, written = open_source(folder), open_source(tmp_path / "edges")
    assert [written[n].shape for n in range(4)] == [source[n].shape for n in range(4)]  # every one, at its own size
    assert np.array_equal(written[3], source[3])
    changed = (written[0] != source[0]).any(2)
    assert 0.1 < changed.mean() < 0.7
    assert np.array_equal(written[0][~changed], source[0][~changed])
    with Image.open(tmp_path / "edges-sheet.jpg") as sheet:
        assert sheet.height == 3 * copies.SHOWN_HEIGHT  # the fourth of the five cannot be read


def test_prepare_edges_goes_on_and_refuses_other_options(limner: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cartoons"
    folder.mkdir()
    for n in range(9):
        Image.fromarray(cartoon(n, 40)).save(folder / f"{n}.png")
    monkeypatch.setattr("limner.prepare.squares.PART", 3)
    assert limner("prepare", "edges", folder, "-o", tmp_path / "whole")[0] == 0
    smoothed = prepared.smoothed

    def failing(pixels: NDArray[np.uint8], option: prepared.EdgeOptions) -> Any:
        if np.array_equal(pixels, cartoon(5, 40)):
            raise KeyboardInterrupt
        return smoothed(pixels, option)

    with monkeypatch.context() as patched:
        patched.setattr(prepared, "smoothed", failing)
        assert limner("prepare", "edges", folder, "-o", tmp_path / "broken", "--workers", 1)[0] == 130
    assert len(list((tmp_path / "broken").glob("*.png"))) < 9
    code, _, err = limner("prepare", "edges", folder, "-o", tmp_path / "broken", "--kernel", 7)
    assert code == 2
    assert "kernel" in err
    assert limner("prepare", "edges", folder, "-o", tmp_path / "broken")[0] == 0
    assert test_cli.tree(tmp_path / "whole") == test_cli.tree(tmp_path / "broken")
    code, _, err = limner("prepare", "edges", folder, "-o", tmp_path / "other", "--widen", 4)
    assert code == 2
    assert "--widen" in err


# ---------------------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of forty photographs and forty cartoons that have nothing to do with one another."""
    folder = tmp_path_factory.mktemp("domains")
    makers: dict[str, Callable[[int], NDArray[np.uint8]]] = {
        "photos": lambda n: make_photo(48, 40, seed=n),
        "cartoons": lambda n: cartoon(500 + n, 48),
    }
    for name, make in makers.items():
        (folder / name).mkdir()
        for n in range(40):
            Image.fromarray(make(n)).save(folder / name / f"{n:02}.png")
    return folder / "photos", folder / "cartoons"


def tiny(domains: tuple[Path, Path], vgg_file: Path, **changes: Any) -> cartoongan.Config:
    config = cartoongan.Config(
        *domains,
        vgg=vgg_file,
        steps=180,
        initial_steps=80,
        batch_size=4,
        image_size=32,
        width=8,
        blocks=1,
        discriminator_width=8,
        levels=2,
        content_layers=("conv2_1",),
        initial_rate=3e-3,
        learning_rate=1e-3,
        discriminator_rate=1e-3,
        pool=6,
    )
    return replace(config, **changes)


def test_resume_is_exact(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the adversarial phase: two networks, two optimizers, the pool, the schedule and the random greys go on."""
    config = tiny(domains, vgg_file, steps=40, initial_steps=10, batch_size=2)
    trainer.train("cartoongan", config, options(tmp_path / "whole"))
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", failing_at(30, checkpoint.save))
        with pytest.raises(KeyboardInterrupt):
            trainer.train("cartoongan", config, options(tmp_path / "broken", checkpoint_every=15))
    torch.manual_seed(12345)  # whatever was drawn in between
    trainer.train("cartoongan", config, options(tmp_path / "broken", checkpoint_every=15), resume=True)
    whole = weights(tmp_path / "whole", 40)
    assert sum("pool/pictures" in name for name in whole) == 6
    same(whole, weights(tmp_path / "broken", 40))


@pytest.mark.parametrize(
    "changes",
    [
        {"adversary": "colour", "adversarial_loss": "log", "content_measure": "plain", "target": "photo"},
        {"generator": "paper", "upsampling": "transposed", "discriminator_norm": "instance", "adversarial_loss": "least-squares"},
        {
            "colour_weight": 0.0,
            "pool": 0,
            "initial_steps": 0,
            "edge_blur": "mean",
            "clipping": 0.0,
            "abstraction": "ink",
            "monochrome": True,
        },
    ],
)
def test_every_variant_trains(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path, changes: dict[str, Any]) -> None:
    config = tiny(domains, vgg_file, **{"steps": 10, "initial_steps": 2, "batch_size": 2, **changes})
    assert trainer.train("cartoongan", config, options(tmp_path / "run")) is not None
    (line,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert ("colour" in line) == bool(config.colour_weight)


def test_a_training_starts_from_anothers_weights(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path) -> None:
    trainer.train("cartoongan", tiny(domains, vgg_file, steps=6, initial_steps=5, batch_size=2), options(tmp_path / "first"))
    start = tmp_path / "first" / "style.safetensors"
    still = {"initial_steps": 0, "learning_rate": 1e-12, "steps": 1, "batch_size": 2, "start": str(start)}
    trainer.train("cartoongan", tiny(domains, vgg_file, **still), options(tmp_path / "second"))
    after = weights(tmp_path / "second", 1)
    for name, value in load_file(start).items():
        assert torch.allclose(after[f"/parts/generator/{name}"], value.float(), atol=1e-9), name
    for wrong, sentence in ((tmp_path / "first" / "config.toml", "holds no weights"), (tmp_path, "There is no style file")):
        with pytest.raises(LimnerError, match=sentence):
            trainer.train("cartoongan", tiny(domains, vgg_file, **{**still, "start": str(wrong)}), options(tmp_path / "third"))
    with pytest.raises(LimnerError, match=r"this network \(width 16, levels 2, blocks 1"):
        trainer.train("cartoongan", tiny(domains, vgg_file, **still, width=16), options(tmp_path / "third"))


def test_a_training_starts_from_a_bundled_style(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path) -> None:
    own = {"width": 24, "levels": 3, "blocks": 4, "steps": 1, "initial_steps": 1, "initial_rate": 1e-12, "batch_size": 1}
    out = trainer.train("cartoongan", tiny(domains, vgg_file, start="storybook", **own), options(tmp_path / "run"))
    assert out is not None
    photo = np.asarray(Image.open(next(domains[0].iterdir())))
    assert np.abs(load(out)(photo).astype(int) - load("storybook")(photo, working_size="full")).max() <= 1


def test_rates_fall_to_nothing_in_the_second_half_of_the_adversarial_phase(
    tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[tuple[float, ...]] = []

    class Noting(torch.optim.Adam):
        def step(self, *rest: Any) -> Any:
            rates.append((len(self.param_groups[0]["params"]), self.param_groups[0]["lr"]))
            return super().step(*rest)

    monkeypatch.setattr(torch.optim, "Adam", Noting)
    config = tiny(domains, vgg_file, steps=12, initial_steps=4, batch_size=2, discriminator_rate=2e-3)
    trainer.train("cartoongan", config, options(tmp_path / "run"))
    smallest = min(count for count, _ in rates)
    generator, discriminator = ([rate for count, rate in rates if (count != smallest) == which] for which in (True, False))
    falling = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]  # and rising, over 100 steps
    assert generator[:4] == pytest.approx([3e-3 * (step + 1) / 100 * falling[step] for step in range(4)])
    assert generator[4:] == pytest.approx([1e-3] * 5 + [7.5e-4, 5e-4, 2.5e-4])
    assert discriminator == pytest.approx([2e-3] * 5 + [1.5e-3, 1e-3, 5e-4])


def test_adversarial_phase_leads_to_the_cartoons_and_keeps_what_is_there(
    tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at with 64 photographs and 64 cartoons that the training never saw, at the end of either phase."""
    plain: dict[str, Any] = {"target": "photo", "generator": "paper", "discriminator_norm": "instance", "adversarial_loss": "least-squares"}
    plain |= {"adversary": "colour", "colour_weight": 0.0, "content_weight": 1.0, "edge_weight": 1.0, "clipping": 0.0}
    plain |= {"cartoon_min_scale": 0.6, "cartoon_max_scale": 0.8}
    rates = {"initial_rate": 2e-3, "learning_rate": 1e-3, "discriminator_rate": 1e-3}
    config = tiny(domains, vgg_file, steps=400, initial_steps=300, **plain, **rates)
    eyes = features.load(("relu1_2", "conv2_1"), vgg_file)
    photos = [as_batch(make_photo(48, 40, seed=n))[..., 4:36, 4:36] for n in range(1000, 1064)]
    distance = adversarial.KernelDistance(eyes, ("relu1_2",), [as_batch(cartoon(n, 48))[..., 8:40, 8:40] for n in range(2000, 2064)])
    found = {}

    @torch.no_grad()
    def look(state: dict[str, Any]) -> tuple[float, float, float]:
        """Kernel distance from the cartoons, content lost, and how the outputs' luma correlates with the photographs'."""
        network = cartoongan.build(config)
        network.load_state_dict({k.removeprefix("module."): v for k, v in state["parts"]["average"].items() if k != "n_averaged"})
        drawn = [network(photo) for photo in photos]
        pairs = list(zip(drawn, photos, strict=True))
        lost = torch.stack([cartoongan.content_loss(eyes(a)["conv2_1"], eyes(b)["conv2_1"]) for a, b in pairs])
        alike = [torch.corrcoef(torch.stack([luma(each).flatten() for each in pair]))[0, 1] for pair in pairs]
        return distance(drawn).item(), lost.mean().item(), torch.stack(alike).mean().item()

    save = checkpoint.save

    def noting(folder: Path, step: int, state: dict[str, Any], **rest: Any) -> Any:
        found[step] = look(state)
        return save(folder, step, state, **rest)

    monkeypatch.setattr(checkpoint, "save", noting)
    trainer.train("cartoongan", config, options(tmp_path / "run", checkpoint_every=300))
    with torch.no_grad():
        photographs = distance(photos).item()
    (kernel_before, lost_before, alike_before), (kernel, lost, alike) = found[300], found[400]
    assert kernel_before > 0.8 * photographs  # the initialisation draws what is there
    assert lost_before < 0.5
    assert alike_before > 0.85
    assert kernel < 0.8 * kernel_before
    assert lost < 0.65
    assert alike > 0.7


def test_prepared_abstractions_are_those_on_the_fly(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path) -> None:
    """Pictures as large as their crops: then both see the same, and the trainings are one."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(24):
        Image.fromarray(make_photo(40, 40, seed=n)).save(photos / f"{n:02}.png")
    abstractions.abstractions([photos], abstractions.AbstractionOptions(tmp_path / "drawn", size=40))
    config = tiny((photos, domains[1]), vgg_file, steps=10, initial_steps=10, batch_size=2, image_size=40)
    trainer.train("cartoongan", config, options(tmp_path / "fly"))
    trainer.train("cartoongan", replace(config, abstractions=tmp_path / "drawn"), options(tmp_path / "prepared"))
    (fly,), (ready,) = (lines(tmp_path / name / "metrics.jsonl") for name in ("fly", "prepared"))
    assert ready["initialisation"] == pytest.approx(
        fly["initialisation"], rel=0.25
    )  # a mirrored crop is drawn before, or after; others' have twice as much
    (tmp_path / "drawn" / "07.png").unlink()
    with pytest.raises(LimnerError, match=r"07\.png .* has no partner"):
        trainer.train("cartoongan", replace(config, abstractions=tmp_path / "drawn"), options(tmp_path / "wrong"))


def test_initialisation_learns_to_draw(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path) -> None:
    """On a photograph never seen, the network's picture is nearer to the abstraction than the photograph is."""
    photos = tmp_path / "photos"
    photos.mkdir()
    small = {}
    for path in sorted((Path(__file__).parent.parent / "examples" / "photos").glob("*.jpg")):
        with Image.open(path) as opened:
            small[path.stem] = opened.convert("RGB").resize((144, 96))
    unseen = small.pop("coffee")
    for name, photo in small.items():
        photo.save(photos / f"{name}.png")
    abstractions.abstractions([photos], abstractions.AbstractionOptions(tmp_path / "drawn"))
    config = tiny((photos, domains[1]), vgg_file, steps=200, initial_steps=200, abstractions=tmp_path / "drawn", width=12)
    assert trainer.train("cartoongan", config, options(tmp_path / "run")) is not None
    network = cartoongan.build(config).eval()
    network.load_state_dict({name: value.float() for name, value in load_file(tmp_path / "run" / "style.safetensors").items()})
    picture, target = (as_batch(each) for each in (np.array(unseen), abstraction.of_pixels(np.array(unseen))))
    with torch.no_grad():
        drawn = network(picture)
    assert drawing_loss(drawn, target) < 0.97 * drawing_loss(picture, target)


def test_crops_without_edges_are_those_of_the_cartoons(domains: tuple[Path, Path]) -> None:
    store = data.PictureCache(open_source(domains[1]), short_side=48, budget=10**8)
    crops = data.Crops(store, list(range(40)), size=32, min_scale=0.6, seed=1)
    for workers in (0, 2):
        stream = data.Stream(crops, batch_size=3, device=torch.device("cpu"), workers=workers)
        smoothed = stream.altered(lambda crop: edge_smoothing.edge_smoothed(crop)[0])
        stream.end_at(3)
        for step in range(3):
            shown = (stream[step] * 255).round().byte().permute(0, 2, 3, 1).numpy()
            without = (smoothed[step] * 255).round().byte().permute(0, 2, 3, 1).numpy()
            assert not np.array_equal(shown, without)
            for a, b in zip(shown, without, strict=True):
                assert np.array_equal(edge_smoothing.edge_smoothed(a)[0], b)
        stream.close()


def test_prepared_edges_take_the_place_of_those_on_the_fly(
    tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cartoongan, "edge_smoothed", never)
    prepared.edges([domains[1]], prepared.EdgeOptions(tmp_path / "edges"))
    config = tiny(domains, vgg_file, steps=6, initial_steps=2, batch_size=2, edges=tmp_path / "edges")
    assert trainer.train("cartoongan", config, options(tmp_path / "run")) is not None
    with pytest.raises(AssertionError):  # and without them, edges are smoothed on the fly
        trainer.train("cartoongan", replace(config, edges=None), options(tmp_path / "other"))


def test_score_of_the_photographs_themselves_is_one(vgg_file: Path) -> None:
    torch.manual_seed(0)
    vgg = features.load(("relu1_2",), vgg_file)
    cartoons, photos = ([as_batch(make(n)) for n in range(6)] for make in (cartoon, lambda n: make_photo(48, 40, seed=n)))
    with torch.no_grad():
        distance = adversarial.KernelDistance(vgg, ("relu1_2",), cartoons)
        of_photos, of_cartoons = distance(photos), distance([as_batch(cartoon(n)) for n in range(6, 12)])
    assert of_photos > 0
    assert of_cartoons < 0.5 * of_photos
