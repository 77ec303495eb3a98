"""Style files in int8: one plain .onnx, close to what it was made from or refused."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import limner
from limner.blocks.network import StyleNetwork
from limner.cli import main
from limner.errors import LimnerError
from limner.gallery import bundled, card
from limner.pictures import image
from limner.style import quantize
from limner.style.runtimes import contract, opening
from limner.style.style import Style
from limner.training import export
from tests.conftest import make_photo

pytest.importorskip("nncf")
# Of nncf and what it loads.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


@pytest.fixture(scope="module")
def own_style(style_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    return Path(shutil.copy(style_file, folder / "mine.onnx"))


@pytest.fixture(scope="module")
def quantized(own_style: Path, photos: Path) -> Path:
    out = own_style.with_name("mine.int8.onnx")
    quantize.quantize(own_style, out, quantize.Options(photos, count=8, size=96, tolerance=8))
    return out


def test_convolutions_compute_in_int8_and_norms_in_float(quantized: Path) -> None:
    model = onnx.load(quantized)
    onnx.checker.check_model(model, full_check=True)
    makers = {output: node for node in model.graph.node for output in node.output}
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    seen = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            weights = makers[node.input[1]]
            assert weights.op_type == "DequantizeLinear"
            assert kinds[weights.input[0]] == onnx.TensorProto.INT8
            seen += 1
        if node.op_type == "InstanceNormalization":
            assert node.input[0] not in makers or makers[node.input[0]].op_type != "DequantizeLinear"
    assert seen == 8
    assert [entry.name for entry in model.graph.input] == ["image"]
    assert str(Path.cwd()) not in str(model)


def test_card_tells_the_distance_and_it_is_true(own_style: Path, quantized: Path, photos: Path) -> None:
    found = card.read(quantized)
    assert found.tier == "int8"
    assert found.weights_sha256 == card.read(own_style).weights_sha256
    told = float(found.quantized.partition("/255")[0])
    assert 0 < told <= 8
    differences = []
    for path in sorted(photos.iterdir()):
        pixels = np.array(Image.open(path).convert("RGB"))
        painted = [Style(each, precision="float32")(pixels).astype(float) for each in (own_style, quantized)]
        differences.append(np.abs(painted[0] - painted[1]).mean())
    assert np.mean(differences) == pytest.approx(told, rel=0.5)


def test_engines_agree(quantized: Path) -> None:
    photo = image.to_float(make_photo(96, 64))
    names: list[contract.Runtime] = ["onnxruntime", "openvino"]
    results = [opening.open_style(quantized, runtime=name, precision="float32")(photo) for name in names]
    # Without VNNI, processors add pairs of int8 products in 16 bits, and engines differ in what becomes of sums that do not fit.
    assert np.abs(results[0] - results[1]).mean() < 3 / 255


def test_it_is_a_tier(own_style: Path, quantized: Path) -> None:
    assert bundled.tiers(own_style) == ["standard", "int8"]
    assert limner.load(own_style, tier="int8").path == quantized


def test_what_would_look_different_is_refused_with_the_number(own_style: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = own_style.with_name("refused.onnx")
    words = ["--photos", str(photos), "--count", "8", "--size", "96", "--tolerance", "0.001"]
    with pytest.raises(SystemExit) as stopped:
        main.main(["quantize", str(own_style), "-o", str(out), *words])
    assert stopped.value.code == 2
    assert "/255 from float32" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


def test_bad_input_is_one_sentence(own_style: Path, quantized: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = quantize.Options(photos, count=8)
    with pytest.raises(LimnerError, match="int8 already"):
        quantize.quantize(quantized, tmp_path / "again.onnx", options)
    with pytest.raises(LimnerError, match=r"\.onnx"):
        quantize.quantize(own_style, tmp_path / "style.bin", options)
    Image.fromarray(make_photo(40, 30)).save(tmp_path / "only.png")
    with pytest.raises(LimnerError, match="too few pictures"):
        quantize.quantize(own_style, tmp_path / "few.onnx", quantize.Options(tmp_path))
    with pytest.raises(LimnerError, match="`count`"):
        quantize.Options(photos, count=1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LimnerError, match=r"limner\[int8\]"):
        quantize.quantize(own_style, tmp_path / "none.onnx", options)


def test_distance_by_hand(tmp_path: Path) -> None:
    """Of two networks of which one paints everything lighter by a tenth."""

    class Lighter(StyleNetwork):
        multiple_of, min_side, receptive_field = 1, 1, 1

        def __init__(self, by: float) -> None:
            super().__init__()
            self.arguments = {}
            self.by = by

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return picture * 0.5 + self.by

    about = {"name": "lighter", "title": "Lighter", "method": "none", "best_short_side": 64}
    for by in (0.1, 0.2):
        export.write(Lighter(by), about, tmp_path / f"{by}.onnx")
    pictures = [image.to_float(make_photo(20, 20, seed=seed)) for seed in range(3)]
    found = quantize.measure(tmp_path / "0.1.onnx", tmp_path / "0.2.onnx", pictures)
    assert [found.mean, found.worst] == pytest.approx([25.5, 25.5], abs=0.5)  # of whole numbers


def test_bundled_int8_styles_stay_close() -> None:
    names = [name for name in bundled.names() if "int8" in bundled.tiers(name)]
    assert bundled.default() in names
    for name in names:
        before, after = limner.load(name), limner.load(name, tier="int8")
        assert after.card.weights_sha256 == before.card.weights_sha256
        photo = make_photo(160, 120)
        assert np.abs(before(photo).astype(float) - after(photo)).mean() < 4
