"""A person who looks at a service's release in Airflow's web interface from before the demo's first run to its end."""

from __future__ import annotations

import configparser
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from playwright.sync_api import Page, expect

from bulkhead.demo.airflow_client import AirflowClient
from tests.browsers import chromium, logged_in

Found = TypeVar("Found")

_USER = "admin"
_LOOK_S = 0.25
_ENDED = re.compile("promoted|rolled back")
_SHOWN = """() => {
    const heading = document.querySelector(".bulkhead h1");
    const traffic = document.querySelector(".bulkhead [role=img][aria-label^=Traffic]");
    return heading && window.notReloaded
        ? [heading.textContent, heading.nextElementSibling.textContent, traffic?.ariaLabel ?? ""] : null;
}"""


@dataclass(frozen=True)
class Sighting:
    """What was on the page at once.

    Attributes: release (its number), phase (in the page's words), percent (of the traffic, where a picture says it).
    """

    release: int
    phase: str
    percent: int | None


class Watcher:
    """Opens one page, once, and keeps whatever else it shows.

    Args:
        folder: of the demo; it is waited for.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._over = folder, threading.Event()
        self._seen: list[Sighting] = []
        self._complaints: list[str] = []
        self._thread = ThreadPoolExecutor(1, "watcher")  # Playwright has a thread of its own for each
        self._looking = self._thread.submit(self._watch)

    def end(self) -> None:
        """The demo is over: look once more, and close the page."""
        self._over.set()
        self._thread.shutdown()

    def seen(self) -> list[Sighting]:
        """All that was shown, each time that it became something else. The page made no complaint.

        Raises:
            BaseException: whatever kept the watcher from looking; also that there is no browser to look with.
        """
        self._looking.result()
        assert not self._complaints, self._complaints
        return self._seen

    def _watch(self) -> None:
        password = self._when(self._password)
        url = self._when(self._url)
        self._when(AirflowClient(url, _USER, password).healthy)
        with chromium() as browser, browser.new_context() as context:
            page = logged_in(context, url, _USER, password)
            page.on("console", lambda said: self._complain(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: self._complain(str(error)))
            page.goto(f"{url}/plugin/bulkhead")
            expect(page.get_by_role("row", name="digits")).to_be_visible()  # the first release was asked for
            page.goto(f"{url}/plugin/bulkhead?service=digits")
            page.evaluate("() => { window.notReloaded = true; }")
            while not self._over.wait(_LOOK_S):
                self._look(page)
            expect(page.locator(".bulkhead h1 + *")).to_have_text(_ENDED)  # of what ended a moment ago
            self._look(page)

    def _look(self, page: Page) -> None:
        shown = page.evaluate(_SHOWN)
        release = re.match(r"Release (\d+) of digits$", shown[0]) if shown else None
        if release is None:
            return  # nothing was released yet
        percent = re.match(r"Traffic: candidate (\d+) %", shown[2])
        sighting = Sighting(int(release[1]), shown[1], int(percent[1]) if percent else None)
        if self._seen[-1:] != [sighting]:
            self._seen.append(sighting)

    def _complain(self, text: str) -> None:
        self._complaints.append(text)

    def _when(self, poll: Callable[[], Found | None]) -> Found:
        while not (found := poll()):
            assert not self._over.wait(_LOOK_S), "the demo was over before there was anything to look at"
        return found

    def _password(self) -> str | None:
        path = self._folder / "airflow" / "passwords.json"
        try:
            return str(json.loads(path.read_text())[_USER])
        except (FileNotFoundError, json.JSONDecodeError):  # the demo is writing it
            return None

    def _url(self) -> str | None:
        configuration = configparser.RawConfigParser()
        configuration.read(self._folder / "airflow" / "airflow.cfg")
        return configuration.get("api", "base_url", fallback=None)
