"""Pages in a real browser: opened at a width, with all that it complains of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

DESKTOP, PHONE = (1280, 900), (390, 844)


@contextmanager
def headless_browser() -> Iterator[Browser]:
    """Chromium as the system has it; the test skips where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium, which is not installed here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, size: tuple[int, int] = DESKTOP, dark: bool = False
) -> Iterator[Page]:
    """The page at ``path``, offline; fails where it complains, loads anything or is wider than the window."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        device_scale_factor=2,
        offline=True,
    )
    page = context.new_page()
    complaints: list[str] = []
    loaded: list[str] = []
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(path.resolve().as_uri())
    yield page
    foreign = [url for url in loaded if not url.startswith(("file:", "data:", "blob:"))]
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    context.close()
    assert complaints == []
    assert foreign == []
    assert wide <= 0, f"{wide} pixels wider than the window"
