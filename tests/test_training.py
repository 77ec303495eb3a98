"""Training: it learns, resumes exactly, survives bad files and interruptions, and exports what it learnt."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from limner import card, training
from limner.errors import LimnerError
from limner.methods.fast_style import Config
from limner.training import checkpoint, data
from tests.conftest import make_photo

STEPS = 60


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    path = tmp_path / "painting.png"
    Image.fromarray(make_photo(90, 70, seed=99)).save(path)
    return path


def small(painting: Path, photos: Path, vgg_file: Path, **changes: Any) -> Config:
    config = Config(
        painting,
        photos,
        vgg=vgg_file,
        steps=STEPS,
        batch_size=2,
        image_size=32,
        width="quarter",
        style_size=64,
        style_layers=("relu1_1", "relu1_2"),
        content_layer="relu2_1",
        pyramid=2,
    )
    return replace(config, **changes)


def options(out: Path, **changes: Any) -> training.Options:
    return replace(training.Options(out, device="cpu", compile="no", workers=0, checkpoint_every=1000, preview_every=1e9), **changes)


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = checkpoint.load_newest(run / "checkpoints")
    assert found is not None
    step, state = found
    assert step == STEPS
    return {
        **{f"generator.{k}": v for k, v in state["generator"].items()},
        **{f"average.{k}": v for k, v in state["average"].items()},
    }


def wait_for_step(run: Path, step: int, process: subprocess.Popen[Any]) -> None:
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and f'"step": {step}' in metrics.read_text()):
        assert process.poll() is None, process.stderr.read() if process.stderr else "ended early"
        time.sleep(0.005)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    config = small(painting, photos, vgg_file)
    assert training.train("fast_style", config, options(tmp_path / "whole")) is not None

    broken = tmp_path / "broken"
    command = [
        "train",
        "fast-style",
        "--style-image",
        painting,
        "--photos",
        photos,
        "--out",
        broken,
        "--vgg",
        vgg_file,
        "--steps",
        STEPS,
    ]
    command += [
        "--batch-size",
        2,
        "--image-size",
        32,
        "--width",
        "quarter",
        "--style-size",
        64,
        "--style-layers",
        "relu1_1",
        "--style-layers",
        "relu1_2",
    ]
    command += [
        "--content-layer",
        "relu2_1",
        "--pyramid",
        2,
        "--device",
        "cpu",
        "--compile",
        "no",
        "--workers",
        1,
        "--checkpoint-every",
        1000,
    ]
    program = "import torch; torch.set_num_threads(2); from limner.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, command)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for_step(broken, 30, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "limner train --resume" in " ".join(errors.split())
    assert "Traceback" not in errors
    found = checkpoint.load_newest(broken / "checkpoints")
    assert found is not None
    assert 30 <= found[0] < STEPS
    assert not (broken / "style.onnx").exists()

    method, config, run_options = training.load(broken)
    assert training.train(method, config, run_options, resume=True) is not None
    whole, resumed = weights(tmp_path / "whole"), weights(broken)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(10, STEPS + 1, 10))
    assert card.read(broken / "style.onnx").weights_sha256 == card.read(tmp_path / "whole" / "style.onnx").weights_sha256


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    """SIGKILL between checkpoints, and a line of metrics cut in two: the steps since the checkpoint are done again, exactly."""
    config = small(painting, photos, vgg_file)
    assert training.train("fast_style", config, options(tmp_path / "whole")) is not None
    broken = tmp_path / "broken"
    program = f"""
import torch; torch.set_num_threads(2)
from pathlib import Path
from limner import training
from tests.test_training import options, small
config = small(Path({str(painting)!r}), Path({str(photos)!r}), Path({str(vgg_file)!r}))
training.train("fast_style", config, options(Path({str(broken)!r}), checkpoint_every=20))
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parent.parent)
    wait_for_step(broken, 30, process)
    process.kill()
    process.wait()
    found = checkpoint.load_newest(broken / "checkpoints")
    assert found is not None
    assert 20 <= found[0] < STEPS
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    method, config, run_options = training.load(broken)
    assert training.train(method, config, run_options, resume=True) is not None
    whole, resumed = weights(tmp_path / "whole"), weights(broken)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(10, STEPS + 1, 10))


def test_bad_photos_and_previews_never_end_a_training(
    tmp_path: Path, painting: Path, vgg_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a-bad.jpg").write_text("not a picture")
    for i in range(4):
        Image.fromarray(make_photo(40, 50, seed=i)).save(folder / f"b-{i}.jpg")
    with caplog.at_level("INFO", "limner"):
        style = training.train("fast_style", small(painting, folder, vgg_file, steps=5), options(tmp_path / "run"))
    assert style is not None
    assert sum("a-bad.jpg" in record.getMessage() for record in caplog.records) >= 1
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 1


def test_a_start_that_fails_leaves_nothing_in_the_way(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(LimnerError, match="cannot give relu2_2"):
        training.train("fast_style", small(painting, photos, vgg_file, content_layer="relu2_2", steps=1), options(run))
    assert not run.exists()
    assert training.train("fast_style", small(painting, photos, vgg_file, steps=1), options(run)) is not None


def test_a_loss_that_is_no_number_is_never_saved(
    tmp_path: Path, painting: Path, photos: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.methods import fast_style

    monkeypatch.setattr(fast_style, "total_variation", lambda images: images.sum() * float("nan"))
    with pytest.raises(LimnerError, match="no longer a number"):
        training.train("fast_style", small(painting, photos, vgg_file, steps=5), options(tmp_path / "run", checkpoint_every=1))
    assert checkpoint.load_newest(tmp_path / "run" / "checkpoints") is None


def test_a_broken_network_is_never_exported(tmp_path: Path) -> None:
    from limner.methods.fast_style import Generator
    from limner.training import export

    network = Generator(8, 1)
    network.to_rgb.bias.data[0] = float("nan")
    about = {"name": "broken", "title": "Broken", "method": "fast_style", "best_short_side": 1}
    with pytest.raises(LimnerError, match="differs"):
        export.write(network, about, tmp_path / "broken.onnx")
    with pytest.raises(LimnerError, match=r"ends in \.onnx"):
        export.write(Generator(8, 1), about, tmp_path / "broken.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    with pytest.raises(LimnerError, match="no GPU"):
        training.train("fast_style", small(painting, photos, vgg_file), options(tmp_path / "run", device="gpu"))


@pytest.mark.parametrize("bad", [{"seed": -1}, {"checkpoint_every": 0}, {"workers": -1}, {"name": "van/gogh"}, {"name": "Van Gogh"}])
def test_impossible_options_are_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(LimnerError, match="--" + next(iter(bad)).replace("_", "-")):
        options(tmp_path, **bad)


def test_crops_are_srgb(tmp_path: Path) -> None:
    """Training sees the same numbers as applying, whatever the file's profile: here one whose red is sRGB's green."""
    from tests.test_image import P3

    Image.new("RGB", (32, 32), (30, 220, 40)).save(tmp_path / "p3.png", icc_profile=P3)
    from limner import image

    crop, _ = data.Crops(tmp_path, size=8, min_scale=1.0, seed=0)[0]
    assert crop[:, 4, 4].tolist() == image.read(tmp_path / "p3.png").pixels[4, 4].tolist() != [30, 220, 40]


def test_training_learns_the_style(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    training.train("fast_style", small(painting, photos, vgg_file, steps=120, content_layer="relu1_2"), options(tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert np.mean([line["style"] for line in lines[-3:]]) < 0.5 * lines[0]["style"]
    assert np.mean([line["loss"] for line in lines[-3:]]) < 0.6 * lines[0]["loss"]


def test_run_directory_and_style_file(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    run = tmp_path / "my-style"
    style = training.train(
        "fast_style", small(painting, photos, vgg_file, steps=4), options(run, preview_every=0, trained_on=("a painting",))
    )
    assert style == run / "style.onnx"
    found = card.read(style)
    assert (found.name, found.title, found.steps, found.trained_on) == ("my-style", "My style", 4, ["a painting"])
    assert str(tmp_path) not in found.to_json()
    stored = load_file(run / "style.safetensors")
    assert all(tensor.dtype == torch.float16 for tensor in stored.values())
    assert sum(t.numel() for t in stored.values()) == found.parameters
    sheets = sorted((run / "samples").iterdir())
    assert [sheet.name for sheet in sheets] == [f"step-{n:08d}.png" for n in (1, 2, 3, 4)]
    with Image.open(sheets[-1]) as sheet:
        assert sheet.width > sheet.height / 2

    again = training.write_style(run, tmp_path / "again.onnx")
    assert card.read(again).weights_sha256 == found.weights_sha256


def test_a_run_is_never_overwritten(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    training.train("fast_style", small(painting, photos, vgg_file, steps=1), options(tmp_path / "run"))
    with pytest.raises(LimnerError, match="already holds a run"):
        training.train("fast_style", small(painting, photos, vgg_file, steps=1), options(tmp_path / "run"))


def test_missing_inputs_are_told_at_once(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    with pytest.raises(LimnerError, match="--style-image: check"):
        training.train("fast_style", small(tmp_path / "none.jpg", photos, vgg_file), options(tmp_path / "run"))
    with pytest.raises(LimnerError, match="--vgg: check"):
        training.train("fast_style", small(painting, photos, tmp_path / "none.pth"), options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_crops_are_a_function_of_seed_and_number(photos: Path) -> None:
    crops = data.Crops(photos, size=24, min_scale=0.5, seed=7)
    first = [crops[n][0] for n in range(20)]
    again = data.Crops(photos, size=24, min_scale=0.5, seed=7)
    assert all(torch.equal(again[n][0], first[n]) for n in reversed(range(20)))
    other = data.Crops(photos, size=24, min_scale=0.5, seed=8)
    assert not all(torch.equal(other[n][0], first[n]) for n in range(20))


def test_an_epoch_shows_every_photo_once(tmp_path: Path) -> None:
    for i in range(6):
        Image.fromarray(np.full((30, 40, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    crops = data.Crops(tmp_path, size=8, min_scale=0.5, seed=0)
    for epoch in range(3):
        shown = sorted(int(crops[n][0].float().mean()) // 40 for n in range(6 * epoch, 6 * epoch + 6))
        assert shown == list(range(6))


def test_crops_are_mirrored_and_scaled(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    crops = data.Crops(tmp_path, size=16, min_scale=0.5, seed=0)
    slopes = np.array([float(c[0, 8, -1]) - float(c[0, 8, 0]) for c, _ in (crops[n] for n in range(200))])
    assert 0.35 < (slopes < 0).mean() < 0.65
    spans = np.abs(slopes) / 255
    assert spans.min() < 0.55
    assert spans.max() > 0.85


def test_ranks_share_the_pictures_without_overlap(photos: Path) -> None:
    crops = data.Crops(photos, size=8, min_scale=0.5, seed=0)
    whole = [batch for batch, _ in data.batches(crops, batch_size=4, first=2, last=5, workers=0)]
    parts = [[b for b, _ in data.batches(crops, batch_size=2, first=2, last=5, rank=rank, ranks=2, workers=0)] for rank in (0, 1)]
    for step, batch in enumerate(whole):
        assert torch.equal(batch, torch.cat([parts[0][step], parts[1][step]]))


def test_bad_pictures_are_skipped_and_named(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray(make_photo(40, 30, seed=i)).save(tmp_path / f"good-{i}.jpg")
    (tmp_path / "text.jpg").write_text("not a picture")
    whole = (tmp_path / "good-0.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    crops = data.Crops(tmp_path, size=16, min_scale=0.5, seed=0)
    told = {sentence for _, bad in data.batches(crops, batch_size=3, first=0, last=4, workers=0) for sentence in bad}
    assert len(told) == 2
    assert any("text.jpg" in sentence for sentence in told)
    assert any("cut.jpg" in sentence for sentence in told)


def test_a_folder_of_bad_pictures_ends_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(LimnerError, match=r"None of the 1 pictures.*text\.jpg"):
        data.Crops(tmp_path, size=16, min_scale=0.5, seed=0)[0]


def test_a_training_without_a_readable_photo_ends_with_a_sentence(tmp_path: Path, painting: Path, vgg_file: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "text.jpg").write_text("not a picture")
    with pytest.raises(LimnerError, match=r"^None of the 1 pictures"):
        training.train("fast_style", small(painting, tmp_path / "photos", vgg_file), options(tmp_path / "run", workers=1))
    assert not (tmp_path / "run").exists()


def test_checkpoints_are_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"x": torch.full((3,), float(step))}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002.pt", "step-00000003.pt"]

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(LimnerError, match="No space left on device"):
        checkpoint.save(tmp_path, 4, {"x": torch.zeros(3)}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002.pt", "step-00000003.pt"]
    found = checkpoint.load_newest(tmp_path)
    assert found is not None
    assert found[0] == 3
    assert torch.equal(found[1]["x"], torch.full((3,), 3.0))


def test_a_damaged_checkpoint_is_told(tmp_path: Path) -> None:
    (tmp_path / "step-00000005.pt").write_bytes(b"cut off")
    with pytest.raises(LimnerError, match="damaged"):
        checkpoint.load_newest(tmp_path)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    with (tmp_path / "step-00000005.pt").open("wb") as file:
        pickle.dump(Evil(), file)
    with pytest.raises(LimnerError):
        checkpoint.load_newest(tmp_path)
    assert not (tmp_path / "ran").exists()
