"""The report: it says what the files say, needs nothing but itself, and is written whatever is missing."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner.errors import LimnerError
from limner.training import chart, report
from tests.conftest import make_photo

VOID = {"meta", "img", "link", "br", "hr", "input", "source"}
SVG_LEAVES = {"path", "circle"}


class Page(HTMLParser):
    """A page that is checked for nesting while it is read: every tag with its attributes, every piece of text with the tags around it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.pieces: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_LEAVES
        self.tags.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and "style" not in self.open:
            self.pieces.append((" ".join(self.open), " ".join(data.split())))

    def of(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Attributes of all tags of this kind; ``class_="x"`` and the like choose among them."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [found for name, found in self.tags if name == tag and wanted.items() <= found.items()]

    @property
    def text(self) -> str:
        return " ".join(piece for _, piece in self.pieces)


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def points(path: str) -> np.ndarray[Any, Any]:
    return np.array([pair.split(",") for pair in path.removeprefix("M").removesuffix("h0").split()], float)


def metrics(steps: int, every: int = 10) -> list[dict[str, Any]]:
    return [
        {"step": s, "seconds": s * 0.8, "pictures": 4 * s, "loss": 1 + 2 * math.exp(-s / 100), "content": 0.5 + (s % 30) / 1000}
        for s in range(every, steps + 1, every)
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with everything in it."""
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "config.toml").write_text(
        'method = "fast_style"\ntitle = "Great Wave"\nsteps = 500\nstyle_weight = 7.5\nbatch_size = 4\nseed = 3\nlong_gone = "x"\n'
    )
    lines(folder / "metrics.jsonl", metrics(500))
    scores = {100: 1.5, 200: 1.25, 300: 1.125, 400: 1.0625, 500: 1.1875}
    lines(folder / "held-out.jsonl", [{"step": s, "score": v, "content": v / 2} for s, v in scores.items()])
    same = {"alarm": "output equals input", "try": "Raise --style-weight."}
    lines(folder / "alarms.jsonl", [{"step": 100, "saw": "1 % changed.", **same}, {"step": 300, "saw": "1.5 % changed.", **same}])
    sources = {"photos": {"path": "/photos", "kind": "folder", "pictures": 1360, "held_out": 16}, "skipped": ["/photos/a.jpg is cut off."]}
    (folder / "data.json").write_text(json.dumps(sources))
    (folder / "machine.json").write_text(json.dumps({"device": "cpu", "torch": "2.13.0", "compiled": True}))
    for step in (250, 500):
        (folder / "checkpoints" / f"step-{step:08d}.pt").touch()
        Image.fromarray(make_photo(400, 100, seed=step)).save(folder / "samples" / f"step-{step:08d}.jpg")
    Image.fromarray(make_photo(400, 100)).save(folder / "samples" / "photographs.jpg")
    (folder / "checkpoints" / "best.pt").touch()
    Image.fromarray(make_photo(400, 300)).save(folder / "samples" / "sheet.jpg")
    return folder


def read(folder: Path, **arguments: bool) -> Page:
    path = report.write(folder, **arguments)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def test_it_says_what_the_files_say(run: Path) -> None:
    page = read(run)
    text = page.text
    assert page.pieces[0] == ("html head title", "Great Wave · training report")
    assert "500 of 500 steps 7 min 5 pictures/s" in text
    final = metrics(500)[-1]
    assert f"loss {final['loss']:.4g}" in text
    assert f"content {final['content']:.4g}" in text
    assert "was 1.062 at step 400 ." in text
    assert "output equals input 2 times, steps 100 to 300 1.5 % changed. Try: Raise --style-weight." in text
    assert "pictures 1,360 held out 16" in text
    assert "1 file was skipped /photos/a.jpg is cut off." in text
    assert "torch 2.13.0 compiled yes checkpoints step 250, step 500, best" in text
    assert "pictures seen 2,000" in text
    assert "to go" not in text
    order = ["An alarm", "Newest samples", "Curves", "The training in pictures", "Time", "Pictures it learns from", "Configuration"]
    assert sorted(order, key=[piece for _, piece in page.pieces].index) == order


def test_options_that_differ_from_their_defaults_stand_out(run: Path) -> None:
    changed = re.findall(r'class="changed"><dt>([\w ]+)</dt><dd>(.*?)<small>default: (.*?)</small>', report.write(run).read_text())
    assert ("style weight", "7.5") in [option[:2] for option in changed]
    assert ("seed", "3", "0") in changed
    assert not {"batch size", "title"} & {option[0] for option in changed}
    assert "others long gone x" in read(run).text


def test_the_best_score_and_the_held_out_numbers_are_drawn(run: Path) -> None:
    page = read(run)
    assert len(page.of("circle")) == 1 + 2 * 5  # the legend's, the score's, the part's
    assert "400: 1.062" in page.text
    x = chart.LEFT + 400 / 500 * (chart.RIGHT - chart.LEFT)
    assert [mark["d"] for mark in page.of("path", class_="mark")[1:]] == [f"M{x:.1f},{chart.TOP}V{chart.BOTTOM}"] * 3


def test_pictures_are_inside_and_told(run: Path) -> None:
    pictures = read(run).of("img")
    assert [picture["alt"].split(":")[0] for picture in pictures] == ["The photographs", "Samples at step 500", "Sheet of samples"]
    assert all(picture["src"].startswith("data:image/jpeg;base64,") for picture in pictures)
    assert (pictures[2]["width"], pictures[2]["height"]) == ("400", "300")


def test_every_sheet_has_its_newest_row(run: Path) -> None:
    for name in ("sheet-b", "photographs-b", "step-00000100-b", "step-00000200-b"):
        Image.fromarray(make_photo(400, 100)).save(run / "samples" / f"{name}.jpg")
    told = " ".join(picture["alt"] for picture in read(run).of("img"))
    assert re.findall(r"step (\d+)|\((b)\)", told) == [("500", ""), ("", "b"), ("200", ""), ("", "b"), ("", "b")]


def test_a_broken_picture_gives_way_to_the_one_before(run: Path) -> None:
    newest = run / "samples" / "step-00000500.jpg"
    newest.write_bytes(newest.read_bytes()[:500])
    (run / "samples" / "sheet.jpg").write_bytes(b"")
    assert [picture["alt"] for picture in read(run).of("img")] == ["The photographs", "Samples at step 250"]


def test_nothing_outside_is_asked_for(run: Path) -> None:
    page = read(run)
    for _, attributes in page.tags:
        assert not attributes.keys() & {"href", "srcset", "action", "onload", "onclick"}
        assert attributes.get("src", "data:").startswith("data:")
    html = (run / "report.html").read_text()
    assert not re.search(r"https?:|url\(|@import|<script|<link", html)


def test_a_hostile_name_stays_a_name(run: Path) -> None:
    evil = "<script>alert(1)</script>.jpg"
    quotes = '"><img src=x onerror=alert(1)>'
    (run / "config.toml").write_text(f"method = '{evil}'\ntitle = '{quotes}'\n'{evil}' = '{quotes}'\n")
    (run / "data.json").write_text(json.dumps({evil: {"path": quotes, evil: evil}, "skipped": [evil, quotes, "not UTF-8: \udcff"]}))
    (run / "machine.json").write_text(json.dumps({quotes: evil}))
    lines(run / "alarms.jsonl", [{"step": 1, "alarm": evil, "saw": quotes, "try": evil}])
    lines(run / "metrics.jsonl", [{"step": s, evil: 1.0, quotes: s} for s in (1, 2)])
    lines(run / "held-out.jsonl", [{"step": 1, "score": 1.0, quotes: s} for s in (1, 2)])
    page = read(run)
    assert not page.of("script")
    assert len(page.of("img")) == 3
    assert evil in page.text
    assert quotes in page.text


@pytest.mark.parametrize("stem", ["metrics.jsonl", "held-out.jsonl", "alarms.jsonl", "data.json", "machine.json"])
@pytest.mark.parametrize("state", ["missing", "empty", "cut", "no table", "nonsense"])
def test_a_file_that_is_not_whole_is_no_obstacle(run: Path, stem: str, state: str) -> None:
    path = run / stem
    whole = path.read_bytes()
    path.unlink()
    if state != "missing":
        path.write_bytes({"empty": b"", "cut": whole[:-5], "no table": b"[1]\n3\nnull\n", "nonsense": b"\xff\x00{"}[state])
    text = read(run).text
    assert "500 of 500 steps" in text
    if state == "cut" and stem == "metrics.jsonl":
        assert f"loss {metrics(490)[-1]['loss']:.4g}" in text


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    text = read(tmp_path).text
    assert f"{tmp_path.name} 0 steps" in text
    (tmp_path / "config.toml").write_text("steps = 1000\n")
    lines(tmp_path / "metrics.jsonl", metrics(10))
    assert "10 of 1,000 steps 8 s 5 pictures/s about 13 min to go" in read(tmp_path).text
    assert "stopped at step 10 of 1,000" in read(tmp_path, stopped=True).text


def test_an_older_run_has_no_clock(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('method = "gone"\nsteps = 40\n')
    lines(tmp_path / "metrics.jsonl", [{"step": s, "loss": float("nan") if s == 20 else 1.0} for s in (10, 20, 30, 20, 40)])
    page = read(tmp_path)
    assert "Time" not in [piece for _, piece in page.pieces]
    assert "40 of 40 steps" in page.text
    assert "nan" not in page.text
    assert len(points(page.of("path", class_="raw")[1]["d"])) == 3  # step 20 was no number


def test_speed_leaves_out_what_nobody_timed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("steps = 200\n")
    untimed = [{"step": s, "loss": 1.0} for s in range(10, 101, 10)]
    lines(tmp_path / "metrics.jsonl", [*untimed, *({"step": s, "seconds": (s - 100) / 2, "loss": 1.0} for s in range(110, 151, 10))])
    text = read(tmp_path).text
    assert "150 of 200 steps 25 s 2 steps/s about 25 s to go" in text


def test_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(LimnerError, match="holds no run"):
        report.write(tmp_path)


def test_a_long_run_makes_a_small_page(run: Path) -> None:
    random = np.random.default_rng(0)
    rows = [{"step": s, "seconds": s / 2, "pictures": 4 * s, "loss": 2 + random.normal(), "tv": 0.1} for s in range(1, 40_001)]
    rows[12_345]["loss"] = 99.0
    lines(run / "metrics.jsonl", rows)
    lines(run / "held-out.jsonl", [{"step": s, "score": float(random.random())} for s in range(50, 40_001, 50)])
    noise = Image.fromarray(random.integers(0, 256, (2500, 1600, 3), np.uint8))
    for name in ("sheet.jpg", "sheet-b.jpg", "step-00000600.jpg"):
        noise.save(run / "samples" / name, quality=95)
    page = read(run)
    assert (run / "report.html").stat().st_size < 5_000_000
    assert len(page.of("img")) == 4
    drawn = [points(path["d"]) for kind in ("raw", "smooth", "held-line") for path in page.of("path", class_=kind)[1:]]
    assert max(map(len, drawn)) <= chart.MOST_POINTS
    assert len(page.of("circle")) <= 1 + chart.MOST_POINTS
    assert min(line[:, 1].min() for line in drawn) == chart.TOP  # the spike is still there


def test_a_chart_puts_numbers_where_they_belong() -> None:
    x, y = np.arange(0.0, 101), np.linspace(10, 12, 101)
    drawn = chart.draw("loss", "12", (x, y), until=200)
    found = points(drawn.line)
    assert len(found) == 101
    middle = (chart.LEFT + chart.RIGHT) / 2
    assert found[0].tolist() == [chart.LEFT, chart.BOTTOM]
    assert found[-1].tolist() == [middle, chart.TOP]
    assert points(drawn.smooth)[0].tolist() == found[0].tolist()
    assert [label for _, label in drawn.x_ticks] == ["0", "50", "100", "150", "200"]
    assert drawn.x_ticks[2][0] == middle
    assert [label for _, label in drawn.y_ticks] == ["10", "10.5", "11", "11.5", "12"]
    assert drawn.y_ticks[-1][0] == chart.TOP
    assert not drawn.log


def test_a_wide_range_is_drawn_logarithmically() -> None:
    drawn = chart.draw("loss", "", (np.array([0.0, 1, 2]), np.array([100.0, 10, 1])), until=2)
    assert drawn.log
    assert points(drawn.line)[:, 1].tolist() == [chart.TOP, (chart.TOP + chart.BOTTOM) / 2, chart.BOTTOM]
    assert [label for _, label in drawn.y_ticks] == ["1", "2", "5", "10", "20", "50", "100"]
    assert not chart.draw("loss", "", (np.array([0.0, 1, 2]), np.array([100.0, 0, 1])), until=2).log


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [-5.0, -5.0], [1e-9, 1.0], [1e-30, 1e30], [-1.0, 1000.0]])
def test_any_numbers_can_be_drawn(values: list[float]) -> None:
    drawn = chart.draw("x", "", (np.arange(len(values), dtype=float), np.array(values)), until=len(values) - 1)
    assert np.isfinite(points(drawn.line)).all()
    assert 1 <= len(drawn.y_ticks) <= 8
    assert all(chart.TOP - 0.1 <= y <= chart.BOTTOM + 0.1 for y, _ in drawn.y_ticks)


def test_thinning_keeps_ends_and_spikes() -> None:
    x, y = np.arange(10_000.0), np.zeros(10_000)
    y[4321], y[7777] = 5, -5
    thin_x, thin_y = chart.thin((x, y), 100)
    assert len(thin_x) <= 100
    assert (thin_x[0], thin_x[-1]) == (0, 9999)
    assert {5.0, -5.0} <= set(thin_y)


def test_a_moving_average_starts_sharp_and_ends_calm() -> None:
    ramp = np.arange(100.0)
    smooth = chart.moving_average(ramp)
    assert np.allclose(smooth[:96], ramp[:96])
    assert smooth[-1] == ramp[-5:].mean()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (48, "48 s"), (99.9, "2 min"), (1620, "27 min"), (5990, "1 h 40 min"), (11_100, "3 h 05 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert report.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"), [(1.064126, "1.064"), (0.0173, "0.0173"), (12345.6, "12,346"), (999.97, "1000"), (3e12, "3e+12"), (-2000, "-2,000")]
)
def test_numbers(value: float, said: str) -> None:
    assert chart.number(value) == said


def test_the_card_of_a_finished_style_is_shown(run: Path, style_file: Path) -> None:
    (run / "style.onnx").write_bytes(style_file.read_bytes())
    assert f"style.onnx, {style_file.stat().st_size / 1000:,.0f} kB name tiny title Tiny" in read(run).text
    (run / "style.onnx").write_bytes(b"half a file")
    assert "Style file" not in read(run).text
