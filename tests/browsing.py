"""A Chromium for the tests: Debian's, without a window, that may ask nobody but this machine."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]

PATIENCE = 120_000
"""Milliseconds after which a test gives up: only where something hangs."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'limner[dev]'")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A page, with all that it asked for, and all that went wrong on it."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        self.url, self.asked, self.wrong = url, list[str](), list[str]()
        self._context = browser.new_context(accept_downloads=True, **{"viewport": {"width": 1280, "height": 860}, **context})
        self.page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)

    def open(self, query: str = "") -> Any:
        """The page, ready for its user."""
        self.page.goto(self.url + query)
        self.page.locator("#tiles input").first.wait_for(state="attached")
        return self.page

    def close(self) -> None:
        """Raises where the page asked anybody but its own server."""
        self._context.close()
        own = urlsplit(self.url).netloc
        elsewhere = [url for url in self.asked if urlsplit(url).scheme not in ("blob", "data") and urlsplit(url).netloc != own]
        assert not elsewhere
        assert self.asked

    def painted(self) -> None:
        """Wait until the large painting is there, sharp, and the sheet of styles is whole."""
        self.page.locator("#work:not(.painting) #after[src]").wait_for()
        self.page.locator("#said", has_text="painted in").wait_for()

    def sheet(self, count: int) -> None:
        """Wait until so many styles have been painted small."""
        self.page.locator(".tile .frame img").nth(count - 1).wait_for()

    def download(self, click: str, to: Path) -> Path:
        with self.page.expect_download() as coming:
            self.page.click(click)
        path = to / str(coming.value.suggested_filename)
        coming.value.save_as(path)
        return path
