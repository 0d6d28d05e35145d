"""Chromium, driven by Playwright: a real browser for the tests of pages."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
MISSING = "there is no program chromium here (Debian: apt-get install chromium)"
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


@contextlib.contextmanager
def chromium(microphone: Path | None = None) -> Iterator[Any]:
    """Start it; `microphone` is a sound file that it hears over and over, whoever asks for the microphone."""
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    if microphone is not None:
        flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        flags += [f"--use-file-for-fake-audio-capture={microphone}"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()
