"""CycleGAN: the paper's networks and losses, and a mapping that is known, learnt in both directions."""

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import limner
from limner.blocks import adversarial, features
from limner.blocks.adversarial import augmented
from limner.blocks.unet import BlurPool, UNet
from limner.cli import main
from limner.gallery import bundled, card
from limner.gallery import weights as stored
from limner.methods import cyclegan
from limner.methods.cyclegan import Config, Discriminator, Generator, SmoothDiscriminator
from limner.training import trainer
from tests.runs import lines, options, same, weights


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize(("blocks", "parameters"), [(6, 7_837_699), (9, 11_378_179)])
def test_generators_are_the_papers(blocks: int, parameters: int, transposed: int) -> None:
    assert count(Generator(64, blocks, transposed)) == parameters


def test_discriminators_are_the_papers() -> None:
    assert count(Discriminator(64)) == 2_764_737


@pytest.mark.parametrize(("network", "side"), [(Discriminator(4), 70), (SmoothDiscriminator(4), 68)])
def test_patches_of_the_discriminators(network: nn.Sequential, side: int) -> None:
    network = network.double()
    for i, module in enumerate(network):
        if not isinstance(module, nn.Conv2d | BlurPool):
            network[i] = nn.Identity()
    picture = torch.rand(1, 3, 160, 160, dtype=torch.double, requires_grad=True)
    scores = network(picture)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert picture.grad is not None
    rows = picture.grad[0].abs().sum((0, 2)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == side


def test_gradients_through_the_smooth_discriminator_have_no_grid() -> None:
    """What a generator is told about each of 8 x 8 pixels, in the mean over the picture: much the same, where strides prefer some."""

    def unevenness(build: Callable[[], nn.Module]) -> float:
        found = []
        for seed in range(4):
            torch.manual_seed(seed)
            network, picture = build(), torch.rand(8, 3, 160, 160, requires_grad=True)
            (slope,) = torch.autograd.grad(network(picture).square().sum(), picture)
            energy = slope[..., 40:120, 40:120].square().mean((0, 1)).reshape(10, 8, 10, 8).mean((0, 2))
            found.append(float(energy.std() / energy.mean()))
        return sum(found) / len(found)

    smooth, strided = unevenness(lambda: SmoothDiscriminator(8)), unevenness(lambda: Discriminator(8).apply(cyclegan.initialise))
    assert 2 * smooth < strided, (smooth, strided)


def test_augmented_pictures_are_moved_and_have_a_hole() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(64, 3, 32, 48) * 0.5 + 0.5
    found = augmented(pictures)
    assert found.shape == pictures.shape
    holes = (found == 0).all(1)
    assert 0.05 < holes.float().mean() < 0.35  # at most a quarter, less what lies outside, and what was moved in
    picture = pictures[0]
    moves = [(down, right) for down in range(-4, 5) for right in range(-6, 7)]

    def agrees(down: int, right: int) -> bool:
        there = torch.roll(picture, (-down, -right), (1, 2))
        inside = ~holes[0]
        return bool(torch.equal(found[0][:, inside], there[:, inside]))

    assert sum(agrees(*move) for move in moves) == 1
    once = pictures.clone().requires_grad_()
    (slope,) = torch.autograd.grad(augmented(once).sum(), once)
    assert ((slope == 0) | (slope == 1)).all()
    assert 0.5 < slope.mean() < 1


def test_self_similarity_leaves_colours_free() -> None:
    """It is that of the places, whatever the features' common part and size; another arrangement is another."""
    torch.manual_seed(0)
    seen = torch.rand(2, 8, 32, 32)
    found = cyclegan.self_similarity(seen)
    assert found.shape == (2, 256, 256)
    assert torch.allclose(found.diagonal(dim1=1, dim2=2), torch.ones(2, 256), atol=1e-5)
    assert torch.allclose(cyclegan.self_similarity(3 * seen + 2), found, atol=1e-4)
    assert (cyclegan.self_similarity(seen.flip(3)) - found).abs().mean() > 0.1


def test_generators_start_as_the_picture_and_from_a_style() -> None:
    config = Config(Path(), Path())
    network = cyclegan.build(config).eval()
    picture = torch.rand(1, 3, 64, 64)
    assert (network(picture) - picture).abs().mean() < 0.05
    preset = cyclegan.build(replace(config, **Config.PRESETS["painter"]))
    assert isinstance(preset, UNet)
    assert preset.arguments == card.read(bundled.find("monet")).network
    painter = replace(config, canvas=True, blocks=5, start="water-lilies")
    network = cyclegan.start(painter, painter.start)
    styles = stored.load(bundled.find(painter.start))
    own = network.state_dict()
    assert {name for name in own if torch.equal(own[name].float(), styles[name].float())} == set(own)
    assert isinstance(cyclegan.rebuild(network.arguments), UNet)
    assert isinstance(cyclegan.rebuild(Generator(8, 1).arguments), Generator)


def test_preset_paper_is_the_paper() -> None:
    config = replace(Config(Path(), Path()), **cyclegan.Config.PRESETS["paper"])
    assert count(cyclegan.build(config)) == 11_378_179
    assert any(isinstance(module, nn.ConvTranspose2d) for module in cyclegan.build(config).modules())
    assert (config.cycle_weight, config.identity_weight, config.pool, config.batch_size, config.learning_rate) == (10, 5, 50, 1, 2e-4)
    assert round(config.image_size / config.min_scale) == 286 == trainer.best_short_side("cyclegan", config, options(Path()))
    assert config.steps == 200 * 6287
    deviation = (
        torch.cat([module.weight.flatten() for module in cyclegan.build(config).modules() if isinstance(module, nn.Conv2d)]).std().item()
    )
    assert abs(deviation - 0.02) < 1e-4


def test_without_averaging_the_style_is_the_last_weights(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path) -> None:
    trainer.train("cyclegan", small(domains, vgg_file, steps=3, averaging=0.0), options(tmp_path / "run"))
    found = weights(tmp_path / "run", 3)
    for ours, theirs in (("average", "there"), ("average_back", "back")):
        of = {
            name.removeprefix(f"/parts/{ours}/module."): value for name, value in found.items() if name.startswith(f"/parts/{ours}/module.")
        }
        assert of
        for name, value in of.items():
            assert torch.equal(value, found[f"/parts/{theirs}/{name}"])


def test_adversarial_loss_is_least_squares() -> None:
    scores = torch.tensor([0.5, 2.0])
    assert float(adversarial.least_squares(scores, real=True)) == pytest.approx((0.25 + 1.0) / 2)
    assert float(adversarial.least_squares(scores, real=False)) == pytest.approx((0.25 + 4.0) / 2)


def shapes(seed: int, side: int = 40) -> NDArray[np.uint8]:
    """Reddish rectangles and discs on a dark ground; uint8 HWC."""
    random = np.random.default_rng(seed)
    picture = np.full((side, side, 3), 40, np.uint8)
    rows, columns = np.mgrid[:side, :side]
    for _ in range(4):  # so that more is ground than shape: else a negative, ground for shape, would be as good
        (y, x), r = random.integers(0, side, 2).tolist(), int(random.integers(4, 8))
        inside = (rows - y) ** 2 + (columns - x) ** 2 < r * r if random.random() < 0.5 else (abs(rows - y) < r) & (abs(columns - x) < r)
        picture[inside] = (int(random.integers(170, 250)), int(random.integers(40, 120)), 40)
    return picture


def swapped(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Red for blue: what the training is to find out from pictures of other shapes."""
    return np.ascontiguousarray(picture[..., ::-1])


@pytest.fixture(autouse=True)
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of these tests end at conv2_2."""
    monkeypatch.setattr(cyclegan, "JUDGED", {"relu1_2": 64, "relu2_2": 128})
    monkeypatch.setattr(cyclegan, "SIMILARITY", ("relu2_2",))


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("domains")
    for name, first, change in (("a", 0, lambda picture: picture), ("b", 1000, swapped)):
        (folder / name).mkdir()
        for i in range(40):
            Image.fromarray(change(shapes(first + i))).save(folder / name / f"{i:02}.png")
    return folder / "a", folder / "b"


def small(domains: tuple[Path, Path], vgg_file: Path, **changes: Any) -> Config:
    papers: dict[str, Any] = {"generator": "paper", "discriminator": "paper", "photo_size": 0, "augment": False}
    papers |= {"cycle_weight": 10.0, "identity_weight": 5.0, "adversarial_loss": "least-squares", "discriminator_rate": 2e-4}
    tiny = {"width": 8, "blocks": 1, "discriminator_width": 8, "image_size": 32, "score_layers": ("relu1_2",)}
    return Config(*domains, vgg=vgg_file, **papers | tiny | changes)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["paper", "default"])
def test_a_known_mapping_is_learnt_both_ways(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path, way: str) -> None:
    run = tmp_path / "swap"
    config = small(domains, vgg_file, steps=300, batch_size=2, learning_rate=2e-3, discriminator_rate=2e-3)
    if way == "default":
        own = {
            name: getattr(Config, name) for name in ("generator", "discriminator", "adversarial_loss", "cycle_weight", "identity_weight")
        }
        config = replace(config, **own, image_size=64, batch_size=1, levels=1, averaging=0.9)
    assert trainer.train("cyclegan", config, options(run, checkpoint_every=150)) == run / "style.onnx"
    found = lines(run / "metrics.jsonl")
    assert np.mean([line["cycle"] for line in found[-5:]]) < 0.6 * np.mean([line["cycle"] for line in found[:5]])
    names = [card.read(run / file).name for file in ("style.onnx", "style-back.onnx")]
    assert names == ["swap", "swap-back"]
    forward, back = limner.load(run / "style.onnx"), limner.load(run / "style-back.onnx")
    unseen = [shapes(seed) for seed in range(5000, 5006)]  # shapes that neither domain holds
    for style, given, wanted in ((forward, unseen, map(swapped, unseen)), (back, map(swapped, unseen), unseen)):
        errors, unchanged = [], []
        for a, b in zip(given, wanted, strict=True):
            errors.append(np.abs(style(a).astype(int) - b).mean())
            unchanged.append(np.abs(a.astype(int) - b).mean())
        assert np.mean(errors) < 0.5 * np.mean(unchanged), (style.card.name, errors, unchanged)
    scores = lines(run / "held-out.jsonl")
    assert scores[-1]["score"] < 1
    sheets = sorted(path.name for path in (run / "samples").glob("sheet*"))
    assert sheets == ["sheet-a-to-b.jpg", "sheet-b-to-a.jpg"]
    with Image.open(run / "samples" / "sheet-a-to-b.jpg") as sheet, Image.open(run / "samples" / "photographs-a-to-b.jpg") as row:
        assert sheet.height == 3 * row.height  # the picture, what became of it, and the way back


def test_resuming_is_exact_across_pools_and_schedules(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path) -> None:
    config = small(domains, vgg_file, steps=24, pool=6)
    trainer.train("cyclegan", config, options(tmp_path / "whole", checkpoint_every=12))
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "whole", broken)
    (broken / "checkpoints" / "step-00000024.pt").unlink()  # as if killed after step 12
    for name in ("style.onnx", "style-back.onnx"):
        (broken / name).unlink()
    trainer.train("cyclegan", config, options(broken, checkpoint_every=12), resume=True)
    whole = weights(tmp_path / "whole", 24)
    assert sum("pool_" in name and "pictures" in name for name in whole) == 12
    same(whole, weights(broken, 24))
    for name in ("style.onnx", "style-back.onnx"):
        assert card.read(broken / name).weights_sha256 == card.read(tmp_path / "whole" / name).weights_sha256


def test_perceptual_discriminators_tell_textures_apart(vgg_file: Path) -> None:
    """Stripes from the same noise without order, after few steps, in pictures not learnt from."""
    torch.manual_seed(0)
    eyes = features.load(tuple(cyclegan.JUDGED), vgg_file)
    judge = cyclegan.PerceptualDiscriminator(8)
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)

    def scores(striped: bool) -> Tensor:
        noise = torch.rand(8, 3, 64, 1 if striped else 64).expand(-1, -1, -1, 64)
        seen = eyes(noise)
        found: Tensor = judge([seen[layer] for layer in cyclegan.JUDGED])
        return found

    for _ in range(40):
        loss = adversarial.hinge(scores(True), real=True) + adversarial.hinge(scores(False), real=False)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        assert scores(True).mean((1, 2, 3)).min() > scores(False).mean((1, 2, 3)).max()


def test_the_default_trains_and_resumes(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path) -> None:
    """U-Nets, one of them with a canvas, from a style; perceptual discriminators; augmented pictures: everything that draws by chance."""
    tiny: dict[str, Any] = {
        "width": 8,
        "levels": 1,
        "blocks": 1,
        "discriminator_width": 4,
        "image_size": 64,
        "photo_size": 64,
        "batch_size": 1,
    }
    config = Config(*domains, vgg=vgg_file, steps=6, canvas=True, similarity_weight=1.0, score_layers=("relu1_2",), **tiny)
    trainer.train("cyclegan", config, options(tmp_path / "whole", checkpoint_every=3))
    assert isinstance(limner.load(tmp_path / "whole" / "style.onnx").card.network["canvas"], int)
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path / "whole", broken)
    (broken / "checkpoints" / "step-00000006.pt").unlink()
    trainer.train("cyclegan", config, options(broken, checkpoint_every=3), resume=True)
    same(weights(tmp_path / "whole", 6), weights(broken, 6))
    assert any("discriminators" in name for name in weights(broken, 6))
    assert all("similarity" in line for line in lines(broken / "metrics.jsonl"))
    assert not any("vgg" in name or "conv1_1" in name for name in weights(broken, 6))


def test_an_npz_of_two_domains_trains_the_same(tmp_path: Path, domains: tuple[Path, Path], vgg_file: Path) -> None:
    from limner.prepare import resumable, squares

    squares.npz((), resumable.Options(tmp_path / "set.npz", size=40, distance=-1), domain_a=domains[:1], domain_b=domains[1:])
    config = small(domains, vgg_file, steps=4)
    trainer.train("cyclegan", config, options(tmp_path / "folders"))
    both = tmp_path / "set.npz"
    trainer.train("cyclegan", replace(config, domain_a=both, domain_b=both), options(tmp_path / "npz"))
    same(weights(tmp_path / "folders", 4), weights(tmp_path / "npz", 4))


@pytest.mark.slow
def test_the_seasons_of_the_page_in_small(tmp_path: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands, to the letter but for the sizes: green becomes red, red becomes green, and what is in season stays."""
    page = (Path(__file__).parent.parent / "docs" / "methods" / "cyclegan.md").read_text(encoding="utf-8")
    train, there, back = [shlex.split(line)[1:] for line in page.split("## Two seasons")[1].splitlines() if line.startswith("    limner ")][
        :3
    ]
    monkeypatch.chdir(tmp_path)
    green = [1, 0, 2]  # channels: the shapes are red
    for i in range(40):
        for folder, picture in (("summer", shapes(i)[..., green]), ("autumn", shapes(1000 + i))):
            Path(folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(f"{folder}/{i:02}.png")
    park, october = shapes(5000, 64)[..., green], shapes(5001, 64)
    for name, picture in (("park", park), ("october", october)):
        Image.fromarray(picture).save(f"{name}.jpg", quality=100, subsampling=0)

    train[train.index("--steps") + 1] = "150"
    train[train.index("--batch-size") + 1] = "1"
    sizes = "--image-size 64 --photo-size 64 --width 8 --levels 1 --blocks 1 --discriminator-width 8 --score-layers relu1_2 --averaging 0.9"
    rates = "--learning-rate 2e-3 --discriminator-rate 2e-3"
    run = f"--vgg {vgg_file} --compile no --trackers none --precision float32 --workers 0 --device cpu --preview-every 60"
    for words in (train + f"{sizes} {rates} {run}".split(), there, back):
        with pytest.raises(SystemExit) as ended:
            main.main(words)
        assert ended.value.code == 0

    def redder(picture: NDArray[np.uint8]) -> float:
        """By how much red exceeds green where one of them is bright."""
        shown = picture.astype(float)
        return float((shown[..., 0] - shown[..., 1])[shown.max(2) > 120].mean())

    styles = {way: limner.load(f"runs-out/autumn/{file}.onnx") for way, file in (("there", "style"), ("back", "style-back"))}
    assert redder(np.asarray(Image.open("park.autumn.jpg"))) > 0.4 * redder(october) > 0 > redder(park)
    assert redder(np.asarray(Image.open("october.summer.jpg"))) < 0.4 * redder(park)
    for way, picture in (("there", october), ("back", park)):
        assert abs(redder(styles[way](picture)) - redder(picture)) < 0.3 * abs(redder(picture)), way
