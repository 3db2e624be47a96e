"""A real Chromium that talks to this machine alone."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

PATIENCE_MS = 240_000.0
"""How long what is waited for may take, on whatever machine."""

_CHROMIUM = shutil.which("chromium")
_ALONE = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
_QUIET = "--disable-component-update --disable-sync"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run one; the test is skipped, loudly, where there is none."""
    if _CHROMIUM is None:
        pytest.skip("NOT SEEN IN A BROWSER: chromium is not here")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=_CHROMIUM, args=f"{_ALONE} {_QUIET}".split())
        yield launched
        launched.close()
