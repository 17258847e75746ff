"""Pages in a real browser, and what must hold of each of them whatever is done there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_FLAGS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 10_000
MIN_CONTRAST = 4.5
"""WCAG 2.2, level AA, for text."""

ATTACK = "<img src=x onerror='window.__pwned=1'></script><script>window.__pwned=1</script>"


@contextmanager
def launched() -> Iterator[Any]:
    """Start the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_FLAGS, "--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, path: Path, *, profile: Any = None, **options: Any) -> Iterator[Any]:
    """Open a page from disk; check at the end that it logged no error and asked for nothing but itself.

    Args:
        profile: what the browser kept of earlier pages, a context of the browser; a fresh one if None.
    """
    context = profile or browser.new_context(**{"viewport": DESKTOP, **options})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url[:200]) if is_foreign(request.url, path) else None)
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    yield page
    (page if profile else context).close()
    assert complaints == []


def is_foreign(url: str, path: Path) -> bool:
    """Whether a page asks for something besides itself and what it made."""
    return not url.startswith(("data:", "blob:")) and url.partition("#")[0] != path.as_uri()


def style(page: Any, selector: str, name: str) -> str:
    """Return how the first of some elements looks."""
    value: str = page.locator(selector).first.evaluate("(node, name) => getComputedStyle(node)[name]", name)
    return value


def luminance(color: str) -> float:
    """Return the relative luminance of a color such as "rgb(18, 19, 22)" (WCAG 2.2)."""
    channels = [int(channel) / 255 for channel in re.findall(r"\d+", color)[:3]]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
