"""Training: it learns, survives bad files, and exports what it learnt."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from limner.errors import LimnerError
from limner.gallery import card
from limner.methods import cyclegan
from limner.training import checkpoint, data, held_out, sheets, trainer
from tests import toy
from tests.conftest import make_photo
from tests.runs import lines, options, same, small, weights


def test_a_folder_with_a_fifth_of_corrupt_files_trains_and_lists_them(
    tmp_path: Path, painting: Path, vgg_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(40):
        Image.fromarray(make_photo(40, 50, seed=i)).save(folder / f"photo-{i:02}.jpg")
    whole = (folder / "photo-00.jpg").read_bytes()
    bad = {
        f"photo-{i:02}.jpg": content
        for i, content in zip(range(0, 40, 5), 2 * [b"", b"not a picture", whole[:300], whole[300:]], strict=True)
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    run = tmp_path / "run"
    with caplog.at_level("INFO", "limner"):
        style = trainer.train("fast_style", small(painting, folder, vgg_file, steps=30), options(run, workers=2))
    assert style is not None
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("skipped: ")]
    listed = json.loads((run / "data.json").read_text())["skipped"]
    for name in bad:
        assert sum(name in sentence for sentence in told) == 1  # said once
        assert sum(name in sentence for sentence in listed) == 1
        assert name in (run / "report.html").read_text()
    assert len(listed) == 8


def test_a_start_that_fails_leaves_nothing_in_the_way(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(LimnerError, match="cannot give relu3_1"):
        trainer.train("fast_style", small(painting, photos, vgg_file, content_layer="relu3_1", steps=1), options(run))
    assert not run.exists()
    assert trainer.train("fast_style", small(painting, photos, vgg_file, steps=1), options(run)) is not None


def test_a_loss_that_is_no_number_is_never_saved(
    tmp_path: Path, painting: Path, photos: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from limner.methods import fast_style

    monkeypatch.setattr(fast_style, "total_variation", lambda images: images.sum() * float("nan"))
    with pytest.raises(LimnerError, match="no longer a number"):
        trainer.train("fast_style", small(painting, photos, vgg_file, steps=5), options(tmp_path / "run", checkpoint_every=1))
    assert checkpoint.load(tmp_path / "run" / "checkpoints") is None


def test_a_broken_network_is_never_exported(tmp_path: Path) -> None:
    from limner.methods.fast_style import Generator
    from limner.training import export

    network = Generator(8, 1)
    assert network.to_rgb.bias is not None
    network.to_rgb.bias.data[0] = float("nan")
    about = {"name": "broken", "title": "Broken", "method": "fast_style", "best_short_side": 1}
    with pytest.raises(LimnerError, match="no numbers"):
        export.write(network, about, tmp_path / "broken.onnx")
    with pytest.raises(LimnerError, match=r"ends in \.onnx"):
        export.write(Generator(8, 1), about, tmp_path / "broken.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    with pytest.raises(LimnerError, match="no GPU"):
        trainer.train("fast_style", small(painting, photos, vgg_file), options(tmp_path / "run", device="gpu"))


@pytest.mark.parametrize(
    "bad",
    [
        *({"seed": -1}, {"checkpoint_every": 0}, {"keep_checkpoints": 0}, {"patience": -1}),
        *({"workers": -1}, {"name": "van/gogh"}, {"name": "Van Gogh"}),
    ],
)
def test_impossible_options_are_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(LimnerError, match=f"`{next(iter(bad))}`"):
        options(tmp_path, **bad)


def test_training_learns_the_style(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    trainer.train("fast_style", small(painting, photos, vgg_file, steps=120, content_layer="relu1_2"), options(tmp_path / "run"))
    found = lines(tmp_path / "run" / "metrics.jsonl")
    assert np.mean([line["style"] for line in found[-3:]]) < 0.5 * found[0]["style"]
    assert np.mean([line["loss"] for line in found[-3:]]) < 0.6 * found[0]["loss"]
    assert [line["pictures"] for line in found] == list(range(20, 241, 20))
    seconds = [line["seconds"] for line in found]
    assert seconds == sorted(seconds)


def test_run_directory_and_style_file(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    run = tmp_path / "my-style"
    style = trainer.train(
        "fast_style", small(painting, photos, vgg_file, steps=4), options(run, preview_every=0, trained_on=("a painting",))
    )
    assert style == run / "style.onnx"
    found = card.read(style)
    assert (found.name, found.title, found.steps, found.trained_on) == ("my-style", "My style", 4, ["a painting"])
    assert str(tmp_path) not in found.to_json()
    stored = load_file(run / "style.safetensors")
    assert all(tensor.dtype == torch.float16 for tensor in stored.values())
    assert sum(t.numel() for t in stored.values()) == found.parameters
    names = ["photographs.jpg", "sheet.jpg", *(f"step-{n:08d}.jpg" for n in (1, 2, 3, 4))]
    assert sorted(path.name for path in (run / "samples").iterdir()) == names
    with Image.open(run / "samples" / "sheet.jpg") as sheet, Image.open(run / "samples" / "photographs.jpg") as row:
        assert sheet.height == 5 * row.height  # the photographs, and four moments
    assert (run / "report.html").exists()

    again = trainer.write_style(run, tmp_path / "again.onnx")
    assert card.read(again).weights_sha256 == found.weights_sha256


def test_old_checkpoints_are_no_start_of_a_new_run(tmp_path: Path, photos: Path) -> None:
    run = tmp_path / "run"
    trainer.train("toy", toy.Config(photos, steps=10), options(run))
    (run / "config.toml").unlink()
    with pytest.raises(LimnerError, match="already holds a run"):
        trainer.train("toy", toy.Config(photos, steps=10, target="inverted"), options(run))


def test_a_lost_weight_is_never_saved(tmp_path: Path, photos: Path) -> None:
    """The loss of its step is still a number."""
    run = tmp_path / "run"
    with pytest.raises(LimnerError, match=r"A weight of the generator is no longer a number at step 30.*limner train --resume"):
        trainer.train("toy", toy.Config(photos, nan_weights_at=29), options(run, checkpoint_every=10))
    assert sorted(path.name for path in (run / "checkpoints").glob("step*")) == ["step-00000010.pt", "step-00000020.pt"]
    assert "stopped at step 30" in " ".join((run / "report.html").read_text(encoding="utf-8").split())


def test_a_tracker_that_fails_costs_nothing_else(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerate

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(accelerate.Accelerator, "log", full_disk)
    assert trainer.train("toy", toy.Config(photos, steps=20), options(tmp_path / "run", trackers=("tensorboard",))) is not None
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 2


def test_a_run_is_never_overwritten(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    trainer.train("fast_style", small(painting, photos, vgg_file, steps=1), options(tmp_path / "run"))
    with pytest.raises(LimnerError, match="already holds a run"):
        trainer.train("fast_style", small(painting, photos, vgg_file, steps=1), options(tmp_path / "run"))


def test_missing_inputs_are_told_at_once(tmp_path: Path, painting: Path, photos: Path, vgg_file: Path) -> None:
    with pytest.raises(LimnerError, match="`style_image`: check"):
        trainer.train("fast_style", small(tmp_path / "none.jpg", photos, vgg_file), options(tmp_path / "run"))
    with pytest.raises(LimnerError, match="`vgg`: check"):
        trainer.train("fast_style", small(painting, photos, tmp_path / "none.pth"), options(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_training_without_a_readable_photo_ends_with_a_sentence(tmp_path: Path, painting: Path, vgg_file: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "text.jpg").write_text("not a picture")
    with pytest.raises(LimnerError, match=r"^None of the 1 pictures"):
        trainer.train("fast_style", small(painting, tmp_path / "photos", vgg_file), options(tmp_path / "run", workers=1))
    assert not (tmp_path / "run").exists()


def test_the_best_checkpoint_becomes_the_style(tmp_path: Path, many_photos: Path) -> None:
    run = tmp_path / "run"
    trainer.train("toy", toy.Config(many_photos, target="inverted", steps=60, working_size=48), options(run, checkpoint_every=10))
    found = lines(run / "held-out.jsonl")
    assert [line["step"] for line in found] == [10, 20, 30, 40, 50, 60]
    assert all(line["score"] == line["error"] for line in found)
    assert found[-1]["score"] < 0.9 * found[0]["score"]
    best = min(found, key=lambda line: line["score"])["step"]
    assert card.read(run / "style.onnx").steps == best
    assert card.read(run / "style.onnx").working_size == 48, "the method's own"

    (run / "checkpoints" / "best.pt").unlink()
    checkpoint.mark_best(run / "checkpoints", 50)  # pretend
    assert card.read(trainer.write_style(run, tmp_path / "best.onnx")).steps == 50
    assert card.read(trainer.write_style(run, tmp_path / "newest.onnx", which="newest")).steps == 60


def test_a_run_that_no_longer_improves_stops_early(tmp_path: Path, many_photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "limner"):
        trainer.train("toy", toy.Config(many_photos, frozen=True, steps=100), options(tmp_path / "run", checkpoint_every=10, patience=2))
    found = lines(tmp_path / "run" / "held-out.jsonl")
    assert [line["step"] for line in found] == [10, 20, 30]
    assert card.read(tmp_path / "run" / "style.onnx").steps == 10
    assert any("stopped early" in record.getMessage() for record in caplog.records)
    assert "stopped at step 30" in " ".join((tmp_path / "run" / "report.html").read_text(encoding="utf-8").split())
    method, config, run_options = (
        "toy",
        toy.Config(many_photos, frozen=True, steps=100),
        options(tmp_path / "run", checkpoint_every=10, patience=2),
    )
    trainer.train(method, config, run_options, resume=True)  # it has ended, and stays so
    assert len(lines(tmp_path / "run" / "held-out.jsonl")) == 3


def test_held_out_photographs_are_never_trained_on(tmp_path: Path, many_photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    read = data.PictureCache.__getitem__

    def watched(cache: data.PictureCache, n: int) -> Any:
        seen.add(n)
        return read(cache, n)

    monkeypatch.setattr(data.PictureCache, "__getitem__", watched)
    held = set(held_out.split([path.name for path in sorted(many_photos.iterdir())], seed=0)[1])
    monkeypatch.setattr(data, "centred_crops", lambda *_, **__: [torch.rand(2, 3, 32, 32)])
    monkeypatch.setattr(sheets, "photos", lambda *_: [torch.rand(1, 3, 16, 16)])
    trainer.train("toy", toy.Config(many_photos, steps=40), options(tmp_path / "run"))
    assert len(held) == 4
    assert seen == set(range(40)) - held


def test_previews_have_the_size_that_the_card_names(tmp_path: Path, many_photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []
    found = sheets.photos

    def watched(pictures: Any, short_side: int) -> Any:
        sides.append(short_side)
        return found(pictures, short_side)

    monkeypatch.setattr(sheets, "photos", watched)
    style = trainer.train("toy", toy.Config(many_photos, steps=1, image_size=48), options(tmp_path / "run"))
    assert style is not None
    assert set(sides) == {card.read(style).best_short_side} == {48}
    assert json.loads((tmp_path / "run" / "parity.json").read_text())["dark ramp"]["float32"] < 1


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({"photo_size": 0}, 160),
        ({"photo_size": 0, "min_scale": 0.25, "max_scale": 0.25}, 512),
        ({"photo_size": 288}, 288),
        ({"photo_size": 288, "working_size": 400}, 400),
    ],
)
def test_crops_say_at_which_size_a_style_is_at_its_best(changes: dict[str, Any], side: int) -> None:
    assert trainer.best_short_side("cyclegan", cyclegan.Config(Path(), Path(), **changes), options(Path())) == side


def test_a_folder_of_held_out_photographs(tmp_path: Path, photos: Path, many_photos: Path) -> None:
    trainer.train("toy", toy.Config(photos, steps=10), options(tmp_path / "run", held_out=many_photos))
    about = json.loads((tmp_path / "run" / "data.json").read_text())["photos"]
    assert (about["pictures"], about["held_out"]) == (8, 40)
    assert len(lines(tmp_path / "run" / "held-out.jsonl")) == 1


def test_losses_go_to_tensorboard(tmp_path: Path, many_photos: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    trainer.train("toy", toy.Config(many_photos, steps=20), options(run, trackers=("tensorboard",)))
    (events,) = (run / "tensorboard" / "limner").rglob("events.out.tfevents.*")
    found = EventAccumulator(str(events)).Reload()
    logged = [(event.step, round(event.value, 5)) for event in found.Scalars("loss")]
    assert logged == [(line["step"], round(line["loss"], 5)) for line in lines(run / "metrics.jsonl")]
    assert [event.step for event in found.Scalars("held-out/error")] == [20]


def test_the_same_pictures_train_the_same_from_a_folder_shards_or_an_npz(tmp_path: Path) -> None:
    pictures = [make_photo(40, 36, seed=i) for i in range(24)]
    folder, shards = tmp_path / "folder", tmp_path / "shards"
    folder.mkdir()
    shards.mkdir()
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    for k in range(2):
        with tarfile.open(shards / f"{k}.tar", "w") as tar:
            for i in range(12 * k, 12 * k + 12):
                tar.add(folder / f"{i:03}.png", f"{i:03}.png")
    np.savez_compressed(tmp_path / "set.npz", images=np.stack(pictures))
    found = []
    for source in (folder, shards, tmp_path / "set.npz"):
        run = tmp_path / f"run-{source.stem}"
        trainer.train("toy", toy.Config(source, steps=20), options(run))
        found.append(weights(run, 20))
    same(found[0], found[1])
    same(found[0], found[2])
