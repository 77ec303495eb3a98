"""What strangers' style files, cards and surroundings may do: be refused in a sentence, and nothing else."""

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import limner
from limner import privacy
from limner.errors import LimnerError
from limner.gallery import bundled, card, graph
from limner.style import style, tone
from limner.style.runtimes import opening
from tests.conftest import NORM, make_photo

CARD = json.loads(card.read(NORM.with_suffix(".live.onnx")).to_json())


def style_of(nodes: list[Any], constants: list[Any] = [], **changes: Any) -> bytes:  # noqa: B006 (read only)
    """The bytes of a style file with a network of these nodes."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("image", ["n", 3, "h", "w"]), ("stylized", None))
    ]
    network = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(network, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {card.KEY: json.dumps({**CARD, **changes})})
    return bytes(model.SerializeToString())


def constant(name: str, value: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def same(gain: float = 1.0) -> bytes:
    return style_of([helper.make_node("Mul", ["image", "k"], ["stylized"])], [constant("k", np.float32(gain))])


def test_a_small_network_of_strangers_paints(tmp_path: Path) -> None:
    path = tmp_path / "same.onnx"
    path.write_bytes(same())
    photo = make_photo(40, 30)
    for runtime in ("openvino", "onnxruntime"):
        assert np.array_equal(limner.load(path, runtime=runtime)(photo), photo)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("multiple_of", value) for value in (0, -4, "4", None, 10**12, 4.0, True)),
        *(("min_side", value) for value in ("x", 60_000, list[int]())),
        *(("steps", value) for value in ("many", -1)),
        *(("title", value) for value in (7, "x" * 20_000)),
        *(("network", value) for value in ({"width": 10**9}, {"width": "x"}, [1], None)),
        *(("trained_on", value) for value in ("x", [1], [["x"]])),
        *(("name", value) for value in ("../x", "", "A", 5, "x" * 65)),
    ],
)
def test_a_mistyped_card_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        card.Card.from_json(json.dumps({**CARD, name: value}))


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "7", '{"multiple_of": NaN}', "{" + '"a":{' * 50_000, "x" * 2_000_000])
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        card.Card.from_json(text)


def node(kind: str, inputs: list[str], **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, ["stylized"], **attributes)


def external(name: str) -> TensorProto:
    tensor = constant(name, np.zeros(4, np.float32))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def short(name: str) -> TensorProto:
    tensor = constant(name, np.zeros(4, np.float32))
    tensor.dims[0] = 2**30
    return tensor


BODY = helper.make_graph([], "body", [], [])
LONG = [helper.make_node("Relu", [f"{n}" if n else "image"], [f"{n + 1}" if n < 10_000 else "stylized"]) for n in range(10_001)]

HOSTILE: dict[str, Callable[[], bytes]] = {
    "Expand": lambda: style_of([node("Expand", ["image", "s"])], [constant("s", np.array([5000, 3, 1, 1]))]),
    "Loop": lambda: style_of([node("Loop", ["n", "c", "image"], body=BODY)], [constant("n", np.int64(2**62)), constant("c", True)]),
    "If": lambda: style_of([node("If", ["c"], then_branch=BODY, else_branch=BODY)], [constant("c", True)]),
    "RandomNormalLike": lambda: style_of([node("RandomNormalLike", ["image"])]),
    "another domain": lambda: style_of([node("Relu", ["image"], domain="com.stranger")]),
    "other files": lambda: style_of([node("Add", ["image", "w"])], [external("w")]),
    "a weight is not whole": lambda: style_of([node("Add", ["image", "w"])], [short("w")]),
    "a size in its network": lambda: style_of([node("Pad", ["image", "p"])], [constant("p", np.array([0, 0, 0, 0, 0, 0, 10**6, 10**6]))]),
    "strides": lambda: style_of([node("Conv", ["image", "w"], strides=[10**7, 1])], [constant("w", np.zeros((3, 3, 1, 1), np.float32))]),
    "10,000 operators": lambda: style_of(LONG),
    "takes no picture": lambda: same().replace(b"stylized", b"something"[:8]),
    "cut off": lambda: same()[:-3],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_network_is_refused_before_it_is_opened(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(HOSTILE[what]())
    with pytest.raises(LimnerError, match="is not a style file, or is damaged"):
        limner.load(path)


def doubling(times: int) -> list[Any]:
    names = ["image", *map(str, range(times))]
    nodes = [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)]
    return [*nodes, helper.make_node("ReduceMean", [names[-1], "0"], ["m"], keepdims=1), node("Add", ["image", "m"])]


TOO_MUCH = {
    "doubling": lambda: style_of(doubling(14), [constant("0", np.array([0]))]),
    "kernels": lambda: style_of([node("AveragePool", ["image"], kernel_shape=[4095, 4095], pads=[2047] * 4)]),
    "channels": lambda: style_of(
        [helper.make_node("Conv", ["image", "w"], ["wide"]), node("Conv", ["wide", "v"])],
        [constant("w", np.zeros((5000, 3, 1, 1), np.float32)), constant("v", np.zeros((3, 5000, 1, 1), np.float32))],
    ),
    "pixels with pixels": lambda: style_of(
        [
            helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Reshape", ["small", "c"], ["column"]),
            helper.make_node("Reshape", ["small", "r"], ["row"]),
            helper.make_node("Add", ["column", "row"], ["square"]),
            helper.make_node("ReduceMean", ["square", "all"], ["m"], keepdims=1),
            node("Add", ["image", "m"]),
        ],
        [constant("c", np.array([1, 1, -1, 1])), constant("r", np.array([1, 1, 1, -1])), constant("all", np.array([0, 1, 2, 3]))],
    ),
    "half": lambda: style_of([node("AveragePool", ["image"], kernel_shape=[2, 2], strides=[2, 2])]),
}


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_network_that_asks_for_too_much_is_refused_before_it_runs(what: str, runtime: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(TOO_MUCH[what]())
    with pytest.raises(LimnerError, match=r"takes more memory or time|not a style file"):
        limner.load(path, runtime=runtime).open()


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    ("gain", "told"),
    [(float("nan"), "no numbers"), (255.0, "far outside"), (-1.0, "far outside"), (float("inf"), "far outside|no numbers")],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_network_that_paints_nothing_is_told(gain: float, told: str, runtime: Any, dtype: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(same(gain))
    with pytest.raises(LimnerError, match=told):
        limner.load(path, runtime=runtime)((make_photo(40, 30) // 2 + 100).astype(dtype) * dtype(257 if dtype is np.uint16 else 1))


def test_the_bundled_styles_cost_what_a_style_may() -> None:
    assert opening.cost(bundled.find("storybook", "live")) < 20
    graph.check(memoryview(bundled.find("storybook", "int8").read_bytes()))


def test_a_thin_picture_is_refused_by_what_the_network_sees() -> None:
    painter = limner.load(NORM)
    assert painter.in_bands(4, 1_000_000)
    with pytest.raises(LimnerError, match=r"1000000 x 4 pixels would take .* turn it upright"):
        painter(np.zeros((4, 1_000_000, 3), np.uint8))


def test_a_style_goes_to_other_processes_after_it_has_painted(style_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(style_file.parent)
    first, photo = limner.load(style_file.name), make_photo(40, 30)
    painted = first(photo)
    monkeypatch.chdir("/")
    for again in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert np.array_equal(again(photo), painted)


def test_stylize_paints_with_the_file_that_is_there(tmp_path: Path) -> None:
    path, photo = tmp_path / "mine.onnx", make_photo(40, 30)
    path.write_bytes(same())
    assert np.array_equal(limner.stylize(photo, str(path)), photo)
    path.write_bytes(same(0.5))
    assert np.abs(limner.stylize(photo, str(path)).astype(int) - photo // 2).max() <= 1
    assert style._loaded.cache_info().maxsize == 8


@pytest.mark.parametrize("thing", [b"\x89PNG", 7, None, [1], memoryview(b"x")])
def test_what_is_no_picture_is_told_by_its_type(thing: Any) -> None:
    with pytest.raises(LimnerError, match=f"A {type(thing).__name__} is nothing that a style paints"):
        limner.load("storybook", tier="live")(thing)


def plain(tone: int, spot: tuple[int, int, int]) -> Any:
    picture = np.full((120, 160, 3), tone, np.uint8)
    picture[40:80, 60:100] = spot
    return picture


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_plain_background_keeps_its_tone(dtype: Any) -> None:
    white, black = (
        (plain(tone, spot).astype(dtype)) * dtype(257 if dtype is np.uint16 else 1)
        for tone, spot in ((255, (190, 60, 40)), (3, (250,) * 3))
    )
    painter = limner.load(NORM)
    light, dark = (np.median(painter(picture)[:12].astype(float), axis=(0, 1)) for picture in (white, black))
    assert (light - dark).mean() > 60 * (257 if dtype is np.uint16 else 1)


def test_ordinary_pictures_get_no_tone_reference() -> None:
    for seed in range(5):
        assert tone.rows_wanted(make_photo(160, 120, seed), 120) == 0
    assert tone.rows_wanted(plain(255, (0, 0, 0)), 120) == 120


def test_a_style_without_norm_needs_no_tone_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = limner.load("storybook")(plain(255, (190, 60, 40)))
    monkeypatch.setattr(tone, "rows_wanted", lambda *_: pytest.fail("asked for"))
    assert np.array_equal(limner.load("storybook")(plain(255, (190, 60, 40))), wanted)
    with pytest.raises(pytest.fail.Exception):
        limner.load(NORM)(plain(255, (190, 60, 40)))


def test_bands_and_whole_pictures_have_the_same_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    painter, picture = limner.load(NORM), plain(255, (190, 60, 40))
    whole = painter(picture)
    monkeypatch.setattr(style, "WHOLE", 1000)
    assert np.abs(painter(picture).astype(int) - whole).mean() < 2


WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("LOOKUP", event, arguments[1:2] if event == "socket.connect" else arguments[0], file=sys.stderr)
sys.addaudithook(watch)
import numpy as np, limner
for runtime in ("openvino", "onnxruntime"):
    limner.load("storybook", tier="live", runtime=runtime)(np.zeros((64, 64, 3), np.uint8))
import nncf
"""


def test_nothing_leaves_the_machine(tmp_path: Path) -> None:
    """Neither the engines nor what `limner quantize` imports look for a host, or note down who is at work here."""
    environment = {key: value for key, value in os.environ.items() if key not in privacy.OFF} | {"HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, env=environment, check=True)
    assert "LOOKUP" not in run.stderr
    assert not [
        path
        for path in tmp_path.rglob("*")
        if "microsoft" in str(path).lower() or "telemetry" in str(path).lower() or "intel" in str(path).lower()
    ]


def test_child_processes_are_told_as_well() -> None:
    code = (
        "import limner, subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'import os; print(os.environ)'], text=True))"
    )
    environment = {key: value for key, value in os.environ.items() if key not in privacy.OFF} | {"DO_NOT_TRACK": "0"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True).stdout
    assert "'ORT_DISABLE_TELEMETRY': '1'" in told
    assert "'DO_NOT_TRACK': '0'" in told  # who says otherwise is not overruled


def test_a_tier_is_found_where_no_style_is_named() -> None:
    for tier in ("standard", "int8", "live"):
        assert bundled.find(bundled.default(tier), tier).is_file()
    assert limner.load(tier="live").card.tier == "live"
    assert bundled.default() == bundled.names()[0]
