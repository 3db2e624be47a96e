"""A real Chromium that talks to this machine alone."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

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


def logged_in(context: BrowserContext, url: str, user: str, password: str) -> Page:
    """A page of somebody who has logged in to Airflow's web interface.

    Args:
        context: a browser's, with no session yet.
        url: of the interface.
    """
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(url)
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda address: "login" not in address)
    return page
