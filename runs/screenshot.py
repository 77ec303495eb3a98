"""A picture of a page as a browser shows it, for the docs: `runs/screenshot.py report.html docs/images/report.png --width 1200`.

Needs playwright (`pip install playwright`) and a Chromium: the system's (`apt-get install chromium`), or playwright's own
(`playwright install chromium`).
"""

import shutil
from pathlib import Path

from cyclopts import run
from playwright.sync_api import sync_playwright


def screenshot(
    page: str, out: Path, *, width: int = 1200, height: int = 900, scale: float = 1, dark: bool = False, full: bool = True
) -> None:
    """Save what a browser shows.

    Parameters
    ----------
    page
        A file or a URL.
    out
        The picture to write: .png, or .jpg for a smaller one.
    width
        Of the window, in CSS pixels; 390 is a phone.
    height
        Of the window; with --full only a first guess.
    scale
        Pixels of the picture to a CSS pixel.
    dark
        In the dark colour scheme.
    full
        The whole page rather than what fits into the window.
    """
    url = page if "://" in page else Path(page).resolve().as_uri()
    installed = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        view = browser.new_page(
            viewport={"width": width, "height": height}, device_scale_factor=scale, color_scheme="dark" if dark else "light"
        )
        view.goto(url)
        out.parent.mkdir(parents=True, exist_ok=True)
        view.screenshot(path=out, full_page=full)
        browser.close()


if __name__ == "__main__":
    run(screenshot)
