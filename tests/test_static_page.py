"""The page that needs no server: its pictures are those of the engine, and it asks for nothing but its own files."""

import http.server
import io
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import limner
from limner import LimnerError
from limner.serve import static

from .browsing import Visit, chromium

EXAMPLES = Path(__file__).parent.parent / "examples" / "photos"


@pytest.fixture(scope="module")
def package(request: pytest.FixtureRequest) -> Path:
    """The npm package onnxruntime-web: where LIMNER_ORT says, or fetched once."""
    if given := os.environ.get("LIMNER_ORT"):
        return Path(given)
    assert request.config.cache is not None
    path = request.config.cache.mkdir("onnxruntime-web") / f"{static.VERSION}.tgz"
    if not path.is_file():
        try:
            path.write_bytes(static.fetch())
        except LimnerError as error:
            pytest.skip(f"ONNX Runtime Web cannot be had: {error}")
    return path


@pytest.fixture(scope="module")
def folder(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return static.write(tmp_path_factory.mktemp("static"), package, lambda _: None).parent


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files, and no log."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        worker = threading.Thread(target=server.serve_forever)
        worker.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        worker.join()


@pytest.fixture
def visit(url: str) -> Iterator[Visit]:
    with chromium() as browser:
        found = Visit(browser, url)
        yield found
        found.close()
        assert not found.wrong


def pixels(data: bytes) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)


@pytest.mark.browser
def test_it_paints_as_the_engine_does(visit: Visit, tmp_path: Path) -> None:
    settings: list[tuple[str, str, dict[str, Any]]] = [
        ("chelsea", "storybook", {"working_size": "full"}),
        ("china", "storybook", {}),  # larger than the size that cartoons are drawn at: it is brought up
        ("rocket", "ink", {}),  # dark, but its network measures no whole picture: without a reference of tones
        ("astronaut", "comic", {"strength": 0.5, "keep_colors": True}),
        ("chelsea", "starry-night", {"strength": 0.5}),
        ("coffee", "great-wave", {"keep_colors": True, "working_size": 200}),
        ("rocket", "udnie", {"working_size": 250}),  # on a canvas of facets
    ]
    for name, style, options in settings:
        query = "".join(f"&{key}={str(value).lower()}" for key, value in options.items())
        visit.open(f"?photo={name}&style={style}&format=png{query}")
        visit.painted()
        got = visit.download("#download", tmp_path)
        assert got.name == f"{name}.{style}.png"
        with Image.open(EXAMPLES / f"{name}.jpg") as photo:
            wanted = limner.load(style)(np.asarray(photo.convert("RGB")), **options)
        difference = np.abs(pixels(got.read_bytes()) - wanted.astype(np.float64)).mean()
        assert difference < 1, f"{name} in {style}: {difference:.3f} of 255"


@pytest.mark.browser
def test_it_does_what_the_page_of_a_server_does(visit: Visit, tmp_path: Path, style_file: Path) -> None:
    page = visit.open()
    page.locator(".wall img").nth(5).wait_for()
    page.set_input_files("#file-photo", [EXAMPLES / "chelsea.jpg", EXAMPLES / "chelsea.jpg"])
    visit.painted()
    visit.sheet(5)
    with zipfile.ZipFile(visit.download("#all", tmp_path)) as archive:
        assert archive.namelist() == ["chelsea.storybook.jpg", "chelsea-2.storybook.jpg"]
        assert archive.testzip() is None
        assert pixels(archive.read("chelsea.storybook.jpg")).shape == (300, 451, 3)
    page.set_input_files("#file-style", style_file)
    page.locator("#file", has_text="chelsea.tiny.jpg").wait_for()
    page.set_input_files("#file-style", EXAMPLES / "coffee.jpg")
    page.locator("#alert", has_text="not a style file").wait_for()
    notes = tmp_path / "notes.jpg"
    notes.write_text("nothing")
    page.set_input_files("#file-photo", notes)
    page.locator("#alert", has_text="notes.jpg is not a picture").wait_for()
    page.click("#camera-open")
    page.locator("#live-said", has_text="pictures a second").wait_for()
    page.click("#take")
    page.locator("#file", has_text="camera.").wait_for()


def test_nothing_in_it_leads_to_another_machine(folder: Path) -> None:
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert 'data-engine="./browser.js"' in page
    assert "default-src 'none'" in page
    assert not (folder / "server.js").exists()
    for path in [*folder.glob("*.js"), *folder.glob("*.css"), folder / "index.html"]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path.name


def test_what_is_no_runtime_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.tgz"
    wrong.write_bytes(b"nothing")
    for given in (wrong, tmp_path, tmp_path / "missing.tgz"):
        with pytest.raises(LimnerError, match="onnxruntime-web"):
            static.write(tmp_path / "out", given, lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_package_that_was_changed_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Answer(io.BytesIO):
        pass

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Answer(b"changed"))
    with pytest.raises(LimnerError, match="hash is another"):
        static.write(tmp_path / "out", None, lambda _: None)
