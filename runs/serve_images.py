"""The pictures of the page in docs/serve.md: `python runs/serve_images.py`, on a quiet machine: the page says how long it took.

Needs what `limner serve` and its browser tests need: `pip install '.[dev]'`, `apt-get install chromium`.
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent.parent / "docs" / "images"

VIEWS = {
    "serve-start": [("", 1400, 860, "light")],
    "serve-work": [("?photo=china&style=starry-night", 1400, 1100, "dark")],
    "serve-phone": [
        (query, 390, 844, scheme) for query, scheme in (("", "light"), ("?photo=coffee&style=ink", "light"), ("?photo=chelsea", "dark"))
    ],
}


def main() -> None:
    server = subprocess.Popen([sys.executable, "-m", "limner", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, views in VIEWS.items():
                shots = []
                for query, width, height, scheme in views:
                    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                    shots.append(_shot(page, url + query))
                    page.close()
                _beside(shots).save(IMAGES / f"{name}.jpg", quality=88, subsampling=0)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _shot(page: Page, url: str) -> Image.Image:
    page.set_default_timeout(300_000)
    if "photo=" in url:  # the last stroke when all else is painted: the page says how long it took
        page.goto(f"{url}&strength=0.95")
        page.locator(".tile .frame img").nth(8).wait_for()
        page.locator("#said", has_text="painted in").wait_for()
        page.fill("#strength", "1")
        page.locator("#said", has_text="Painting").wait_for()
        page.locator("#said", has_text="painted in").wait_for()
    else:
        page.goto(url)
        page.locator(".wall img").nth(5).wait_for()
    page.wait_for_timeout(1000)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def _beside(shots: list[Image.Image], gap: int = 24) -> Image.Image:
    whole = Image.new("RGB", (sum(shot.width for shot in shots) + gap * (len(shots) - 1), shots[0].height), "#8a8378")
    left = 0
    for shot in shots:
        whole.paste(shot, (left, 0))
        left += shot.width + gap
    return whole


if __name__ == "__main__":
    main()
