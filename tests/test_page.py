"""The page, in a browser: what people do on it, by mouse and by keyboard, and that it asks nobody but its own server."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner.cli import main
from limner.gallery import bundled

from . import serving
from .browsing import Visit, chromium

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "photos"
STYLES = len(bundled.names())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving.process() as served:
        yield served.url


@pytest.fixture
def visit(browser: Any, url: str) -> Iterator[Visit]:
    found = Visit(browser, url)
    yield found
    found.close()
    assert not found.wrong


def applied(tmp_path: Path, photo: Path, *flags: str) -> bytes:
    """What `limner apply` makes of a photograph."""
    out = tmp_path / "applied"
    with pytest.raises(SystemExit) as ended:
        main.main(["apply", str(photo), "-o", str(out), "--overwrite", *flags])
    assert ended.value.code == 0
    return next(path for path in out.iterdir() if path.suffix != ".jsonl").read_bytes()


def test_an_example_is_painted_in_every_style_and_downloaded(visit: Visit, tmp_path: Path) -> None:
    page = visit.open()
    page.click("img[alt='Chelsea the cat']")
    visit.painted()
    visit.sheet(STYLES)
    assert page.locator(".tile.waiting").count() == 0
    page.click(".tile:has(input[value='starry-night'])")
    page.locator("#said", has_text="Starry Night: 451").wait_for()
    got = visit.download("#download", tmp_path)
    assert got.name == "chelsea.starry-night.jpg"
    assert got.read_bytes() == applied(tmp_path, EXAMPLES / "chelsea.jpg", "-s", "starry-night")
    assert "photo=chelsea" in page.url
    assert "style=starry-night" in page.url


def test_own_photographs_with_settings_that_the_address_keeps(visit: Visit, tmp_path: Path) -> None:
    page = visit.open()
    page.set_input_files("#file-photo", EXAMPLES / "coffee.jpg")
    visit.painted()
    page.fill("#strength", "0.4")
    page.locator("#strength-said", has_text="40 %").wait_for()
    page.check("#keep_colors")
    page.select_option("#max_size", "512")
    page.click("summary")
    page.select_option("#format", "png")
    page.locator("#file", has_text="coffee.storybook.png").wait_for()
    visit.painted()
    got = visit.download("#download", tmp_path)
    flags = ("-s", "storybook", "--strength", "0.4", "--keep-colors", "--max-size", "512", "--format", "png")
    assert got.read_bytes() == applied(tmp_path, EXAMPLES / "coffee.jpg", *flags)
    assert page.url.endswith("?strength=0.4&keep_colors=true&max_size=512&format=png")
    page.reload()
    page.locator("#tiles input").first.wait_for(state="attached")
    page.set_input_files("#file-photo", EXAMPLES / "coffee.jpg")
    visit.painted()
    assert page.input_value("#strength") == "0.4"
    assert page.is_checked("#keep_colors")
    assert visit.download("#download", tmp_path).read_bytes() == got.read_bytes()


def test_a_link_shows_a_painting_again(visit: Visit) -> None:
    page = visit.open("?photo=flower&style=ink&strength=0.5&nonsense=1&quality=x&format=exe")
    visit.painted()
    assert page.inner_text("#title") == "Ink"
    assert page.input_value("#strength") == "0.5"
    assert (page.input_value("#quality"), page.input_value("#format")) == ("95", "")


def test_the_slider_shows_photograph_and_painting(visit: Visit) -> None:
    page = visit.open("?photo=chelsea&style=ink")
    visit.painted()
    box = page.locator("#compare").bounding_box()

    def colours() -> float:
        """Of the middle of the picture: a drawing in ink has next to none."""
        path = page.locator("#compare").screenshot()
        shown = np.asarray(Image.open(io.BytesIO(path)).convert("RGB"), np.float32)
        height, width = shown.shape[:2]
        middle = shown[height // 4 : height // 2, int(width * 0.55) : int(width * 0.8)]
        return float((middle.max(2) - middle.min(2)).mean())

    page.mouse.click(box["x"] + box["width"] * 0.98, box["y"] + box["height"] / 3)
    photograph = colours()
    page.mouse.click(box["x"] + box["width"] * 0.02, box["y"] + box["height"] / 3)
    assert photograph > 2 * colours()


def test_photographs_can_be_dropped_and_pasted(visit: Visit) -> None:
    page = visit.open()
    script = """([kind, bytes]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], `${kind}.jpg`, {type: "image/jpeg"}));
      const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true})
        : new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true});
      document.body.dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(script, [kind, list((EXAMPLES / "chelsea.jpg").read_bytes())])
        page.locator("#file", has_text=f"{kind}.storybook.jpg").wait_for()


def test_several_photographs_become_a_zip(visit: Visit, tmp_path: Path) -> None:
    page = visit.open("?style=great-wave")
    page.set_input_files("#file-photo", [EXAMPLES / name for name in ("chelsea.jpg", "coffee.jpg")])
    visit.painted()
    got = visit.download("#all", tmp_path)
    with zipfile.ZipFile(got) as archive:
        assert archive.namelist() == ["chelsea.great-wave.jpg", "coffee.great-wave.jpg"]
        assert archive.read("chelsea.great-wave.jpg") == applied(tmp_path, EXAMPLES / "chelsea.jpg", "-s", "great-wave")


def test_own_style_file(visit: Visit, tmp_path: Path, style_file: Path) -> None:
    page = visit.open("?photo=chelsea")
    visit.painted()
    page.set_input_files("#file-style", style_file)
    page.locator("#file", has_text="chelsea.tiny.jpg").wait_for()
    assert page.inner_text("#title") == "Tiny"
    got = visit.download("#download", tmp_path)
    assert got.read_bytes() == applied(tmp_path, EXAMPLES / "chelsea.jpg", "-s", str(style_file))


def test_wrong_files_get_the_librarys_sentence(browser: Any, url: str, tmp_path: Path) -> None:
    visit = Visit(browser, url)
    page = visit.open("?photo=chelsea")
    visit.painted()
    wrong = tmp_path / "notes.jpg"
    wrong.write_text("no picture at all")
    page.set_input_files("#file-photo", wrong)
    page.locator("#alert", has_text="notes.jpg is not a picture").wait_for()
    page.set_input_files("#file-style", wrong)
    page.locator("#alert", has_text="The file is not a style file, or is damaged").wait_for()
    page.set_input_files("#file-photo", EXAMPLES / "coffee.jpg")  # and it goes on
    page.locator("#file", has_text="coffee.storybook.jpg").wait_for()
    assert page.is_hidden("#alert")
    visit.close()


def test_formats_that_the_browser_does_not_know(visit: Visit, tmp_path: Path) -> None:
    photo = tmp_path / "scan.tif"
    Image.open(EXAMPLES / "chelsea.jpg").save(photo)
    page = visit.open()
    page.set_input_files("#file-photo", photo)
    page.locator("#file", has_text="scan.storybook.tif").wait_for()
    assert page.evaluate("document.getElementById('after').decode().then(() => true)")
    assert page.evaluate("document.getElementById('before').naturalWidth") == 451
    assert visit.download("#download", tmp_path).read_bytes() == applied(tmp_path, photo)


def test_the_camera_is_painted_live_and_gives_a_photograph(visit: Visit) -> None:
    page = visit.open()
    page.click("#camera-open")
    page.locator("#live-said", has_text="pictures a second").wait_for()
    page.check("#live-styles input >> nth=1", force=True)
    seen = page.evaluate(
        "(() => { const c = document.getElementById('live');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return [c.width, new Set(d).size]; })()"
    )
    assert seen[0] == 384
    assert seen[1] > 50
    page.click("#take")
    page.locator("#file", has_text="camera.storybook.jpg").wait_for()


def test_limner_live_opens_the_camera_in_its_style(browser: Any, tmp_path: Path) -> None:
    """The address that the command opens is the page with the camera at work."""
    opened = tmp_path / "opened"
    words = [sys.executable, "-m", "limner", "live", "--style", "ink"]
    program = f"{sys.executable} -c \"import sys; open({str(opened)!r}, 'w').write(sys.argv[1])\" %s"
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "BROWSER": program}) as live:
        try:
            assert live.stdout is not None
            address = live.stdout.readline().strip()
            url, wanted = address.split("?")
            assert wanted == "style=ink#live"
            visit = Visit(browser, url)
            page = visit.open("?" + wanted)
            page.locator("#live-said", has_text="pictures a second").wait_for()
            assert page.locator("#live-styles input:checked").get_attribute("value") == "ink"
            visit.close()
            assert not visit.wrong
            assert opened.read_text() == address
        finally:
            live.send_signal(signal.SIGINT)
    assert live.returncode in (0, 130)


def test_with_the_keyboard_alone(visit: Visit, tmp_path: Path) -> None:
    page = visit.open()
    page.locator("#examples img").nth(5).wait_for()

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement?.matches(s)", selector):
                return
        raise AssertionError(f"{selector} is not reached")

    tab_to("#choose")
    tab_to("#examples li:nth-child(3) button")
    page.keyboard.press("Enter")
    visit.painted()
    tab_to("#split")
    before = page.evaluate("getComputedStyle(document.getElementById('compare')).getPropertyValue('--split')")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("getComputedStyle(document.getElementById('compare')).getPropertyValue('--split')") != before
    tab_to("#tiles input")
    page.keyboard.press("ArrowRight")
    page.locator("#said", has_text="Ink: ").wait_for()
    tab_to("#strength")
    page.keyboard.press("ArrowLeft")
    tab_to("#keep_colors")
    page.keyboard.press("Space")
    page.locator("#strength-said", has_text="95 %").wait_for()
    visit.painted()
    tab_to("#download")
    with page.expect_download() as coming:
        page.keyboard.press("Enter")
    coming.value.save_as(tmp_path / "got.jpg")
    flags = ("-s", "ink", "--strength", "0.95", "--keep-colors")
    assert (tmp_path / "got.jpg").read_bytes() == applied(tmp_path, EXAMPLES / "chelsea.jpg", *flags)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_fault(browser: Any, url: str, scheme: str, width: int) -> None:
    package = pytest.importorskip("axe_playwright_python", reason="axe is not installed: pip install 'limner[dev]'")
    axe = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    visit = Visit(browser, url, color_scheme=scheme, viewport={"width": width, "height": 844}, bypass_csp=True)
    for query in ("", "?photo=chelsea"):
        page = visit.open(query)
        page.add_style_tag(content="* { animation: none !important; transition: none !important }")
        if query:
            visit.painted()
            visit.sheet(STYLES)
            page.click("summary")
        else:
            page.locator(".wall img").nth(5).wait_for()
        page.add_script_tag(content=axe)
        found = page.evaluate("axe.run()")["violations"]
        serious = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
        assert not serious
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    visit.close()


def test_a_key_is_asked_for_once(browser: Any) -> None:
    with serving.process("--api-key", "open sesame") as served:
        visit = Visit(browser, served.url)
        page = visit.page
        page.goto(visit.url)
        page.fill("#key", "open sesame")
        page.keyboard.press("Enter")
        page.locator(".wall img").nth(5).wait_for()
        page.click("img[alt='A dahlia']")
        visit.painted()
        visit.close()
