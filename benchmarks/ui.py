"""``python -m benchmarks.ui``: the Control Room over a large ledger, in a real Airflow api-server and a real Chromium.

500 services, 20,000 releases and 10,000 GPUs in SQLite. Measured: how long the API takes to make an answer that nobody
has asked for before; how soon a page shows what it is for, beside Airflow's own page in the same browser; by how much
the api-server's memory grows, against one without the plugin that has answered the same requests to Airflow itself; and
what 50 people who watch cost the ledger, while a release goes on and the fleet's watch looks.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from benchmarks import full_ledger
from benchmarks.full_ledger import Size, service_name
from bulkhead.demo.progress import Progress
from bulkhead.demo.stack import LocalStack
from bulkhead.errors import UnavailableError
from bulkhead.events import EventKind

BARS = {
    "api_p95_ms": 100.0,
    "first_picture_ms": 1000.0,
    "bundle_kb": 150.0,
    "memory_grown_mb": 50.0,
    "statements_a_second": 1.0,
}
_API = "/bulkhead/api"
_POLL_S = 2.0
_VIEWERS = {"services": 20, "release": 20, "fleet": 10}
"""How many watch which page."""

_EVENT_S, _MEASUREMENT_S, _WATCH_S = 60.0, 15.0, 15.0
"""How often, while they watch, something happens to a release, one is measured, and the fleet is looked at."""

_OWN_PAGE, _OUR_PAGE = "airflows_own_page_ms", "first_picture_ms"
_PAGES = {
    _OWN_PAGE: ("/dags", "h1, h2"),
    _OUR_PAGE: ("/plugin/bulkhead", ".bulkhead tbody tr"),
}
"""Paths, and what has to be there for a page to be seen."""

_SHOWN = """
new MutationObserver(() => {
  if (!window.shownAt && document.querySelector("WHAT"))
    requestAnimationFrame(() => { window.shownAt ||= performance.now(); });
}).observe(document, {childList: true, subtree: true});
"""
"""Notes when something is seen first; asking again and again would be late by up to half a second."""

_BUNDLE = Path(__file__).parents[1] / "bulkhead" / "web" / "static" / "bulkhead.js"

_SETTINGS = """\
import mmap, os
from sqlalchemy import Engine, event

_file = open(os.environ["BENCH_STATEMENTS"], "r+b")
_count = mmap.mmap(_file.fileno(), 8)

@event.listens_for(Engine, "before_cursor_execute")
def count(connection, cursor, statement, parameters, context, executemany):
    if connection.engine.url.database == os.environ["BENCH_LEDGER"] and statement != "BEGIN":
        _count[:] = (int.from_bytes(_count[:], "little") + 1).to_bytes(8, "little")

if os.environ["BENCH_PLUGINS"] == "none":
    from airflow import plugins_manager
    plugins_manager._load_entrypoint_plugins = lambda: ([], {})
"""
"""Airflow's local settings: they count what its process asks of the ledger, and can leave the plugin out."""


class CountedStack(LocalStack):
    """An api-server over a full ledger, with a count of what it asks of the ledger."""

    plugins = "all"

    def prepare_airflow(self, wait: Progress) -> None:
        """Make the folder, and Airflow's database."""
        self.prepare()
        self._statements.write_bytes(bytes(8))
        self.migrate_airflow()
        wait.wait("Airflow's database", lambda: self.processes.finished("airflow-migrate"))
        configuration = self.folder / "airflow" / "config"
        configuration.mkdir()
        (configuration / "airflow_local_settings.py").write_text(_SETTINGS)

    @property
    def statements(self) -> int:
        """How many the api-server has sent to the ledger."""
        return int.from_bytes(self._statements.read_bytes(), "little")

    @property
    def memory_mb(self) -> float:
        """Of the api-server's processes, each page of memory once, in megabytes (10^6)."""
        rollups = [Path(f"/proc/{pid}/smaps_rollup") for pid in self.processes.members("airflow-api-server")]
        lines = (line.split() for rollup in rollups for line in rollup.read_text().splitlines())
        return sum(int(words[1]) for words in lines if words[0] == "Pss:") * 1024 / 1e6

    @property
    def _statements(self) -> Path:
        return self.folder / "statements"

    def airflow_environment(self) -> Mapping[str, str]:
        """See ``LocalStack``; with what the settings above read."""
        return {
            **super().airflow_environment(),
            "BENCH_STATEMENTS": str(self._statements),
            "BENCH_LEDGER": str(self.control.ledger.engine.url.database),
            "BENCH_PLUGINS": self.plugins,
        }


class Bench:
    """One run.

    Args:
        folder: for everything.
        size: of the ledger.
    """

    def __init__(self, folder: Path, size: Size) -> None:
        (folder / "dags").mkdir()
        self.stack, self.size = CountedStack(folder / "stack", folder / "dags"), size
        self.progress = Progress(Console(stderr=True), self.stack.processes.check)
        self.going = 0
        self._client = httpx.Client(timeout=60)

    def run(self, watched_s: float) -> dict[str, Any]:
        """Measure.

        Args:
            watched_s: how long people watch.

        Returns:
            What was measured, by name.
        """
        stack = self.stack
        stack.prepare_airflow(self.progress)
        with self._said("a full ledger"):
            full_ledger.fill(stack.control.ledger, self.size)
        self.going = next(row.id for row in stack.control.ledger.rollouts.active())
        stack.plugins = "none"
        self._start()
        with self._said("Airflow's own"):
            self._own()
        without = stack.memory_mb
        stack.processes.kill("airflow-api-server")
        stack.plugins = "all"
        self._start()
        with self._said("Airflow's own, and its list of DAGs"):
            pages = {_OWN_PAGE: self._own()}
        with self._said("answers"):
            answers = self._answers()
        with self._said("our page"):
            pages[_OUR_PAGE] = self._page(_OUR_PAGE)
        with self._said(f"{sum(_VIEWERS.values())} viewers for {watched_s:.0f} s"):
            watched = self._watched(watched_s)
        return {
            **{name: getattr(self.size, name) for name in ("services", "rollouts", "gpus")},
            "api_p95_ms": max(answers.values()),
            "api_p95_ms_by_answer": answers,
            **pages,
            "bundle_kb": round(len(gzip.compress(_BUNDLE.read_bytes())) / 1e3, 1),
            "memory_without_mb": round(without),
            "memory_grown_mb": round(stack.memory_mb - without, 1),
            **watched,
        }

    def _start(self) -> None:
        self.stack.start_airflow(["api-server"])
        self.progress.wait("the api-server", self._answers_at_all)
        user, _, password = self.stack.login.partition(" / ")
        credentials = {"username": user, "password": password}
        token = httpx.post(f"{self.stack.airflow.url}/auth/token", json=credentials).raise_for_status().json()
        self._client = self._one_more_client({"Authorization": f"Bearer {token['access_token']}"})

    def _answers_at_all(self) -> bool | None:
        try:
            return bool(self.stack.airflow.call("GET", "/api/v2/dags"))
        except UnavailableError:
            return None

    def _one_more_client(self, headers: Mapping[str, str]) -> httpx.Client:
        return httpx.Client(base_url=self.stack.airflow.url, headers=headers, timeout=60)

    def _own(self) -> float:
        """Ask Airflow for what is its own, with the plugin and without: what it loads for that is not the plugin's.

        Returns:
            See ``_page``, of Airflow's.
        """
        for _ in range(50):
            for path in ("/api/v2/dags?limit=50", "/api/v2/plugins", "/api/v2/monitor/health", "/ui/config"):
                self._get(path)
        return self._page(_OWN_PAGE)

    def _get(self, path: str) -> float:
        """How long an answer takes, in seconds."""
        begin = time.perf_counter()
        self._client.get(path).raise_for_status()
        return time.perf_counter() - begin

    def _answers(self) -> dict[str, float]:
        """95th percentile of how long an answer takes that is made for the first time, in milliseconds, by its kind."""
        return {
            kind: round(quantiles([self._get(f"{_API}/{path}") for path in paths], n=20)[-1] * 1e3, 1)
            for kind, paths in _first_asked(self.size).items()
        }

    def _page(self, name: str) -> float:
        """How soon a page shows what it is for, in milliseconds: the median of some, each in a window of its own."""
        with sync_playwright() as playwright:
            program = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            took = median(self._shown(browser, *_PAGES[name]) for _ in range(7))
            browser.close()
        return took

    def _shown(self, browser: Browser, path: str, what: str) -> float:
        """Milliseconds until a page of somebody who has used Airflow before is there."""
        context = browser.new_context(viewport={"width": 1600, "height": 900})
        page = context.new_page()
        page.goto(self.stack.airflow.url)
        user, _, password = self.stack.login.partition(" / ")
        page.fill("input[name=username]", user)
        page.fill("input[name=password]", password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "login" not in url)
        page.wait_for_load_state("networkidle")
        page.add_init_script(_SHOWN.replace("WHAT", what))
        page.goto(f"{self.stack.airflow.url}{path}")
        took = float(page.wait_for_function("window.shownAt").json_value())
        context.close()
        return round(took, 1)

    def _watched(self, seconds: float) -> dict[str, Any]:
        """What people who watch cost, while the world goes on."""
        pages = {
            "services": ["services?limit=25"],
            "release": [f"releases/{self.going}", f"releases/{self.going}/course"],
            "fleet": ["fleet", "fleet/devices?limit=25"],
        }
        until = time.monotonic() + seconds
        over = threading.Event()
        world = threading.Thread(target=self._world, args=(over,))
        viewers = [paths for page, paths in pages.items() for _ in range(_VIEWERS[page])]
        with ThreadPoolExecutor(len(viewers)) as threads:
            for paths in viewers:  # what they see first
                self._get(f"{_API}/{paths[0]}")
            before, begin = self.stack.statements, time.monotonic()
            world.start()
            looks = [threads.submit(self._look, number, paths, until) for number, paths in enumerate(viewers)]
            took = [each_s for look in looks for each_s in look.result()]
        lasted = time.monotonic() - begin
        over.set()
        world.join()
        return {
            "viewers": len(viewers),
            "watched_s": round(lasted),
            "requests_a_second": round(len(took) / lasted, 1),
            "watched_p95_ms": round(quantiles(took, n=20)[-1] * 1e3, 1),
            "statements_a_second": round((self.stack.statements - before) / lasted, 2),
        }

    def _look(self, number: int, paths: list[str], until: float) -> list[float]:
        """Look as the page does: every two seconds, with the tags of what is known already."""
        tags: dict[str, str] = {}
        took = []
        with self._one_more_client(self._client.headers) as client:
            due = time.monotonic() + _POLL_S * number / sum(_VIEWERS.values())
            while due < until:
                time.sleep(max(0.0, due - time.monotonic()))
                for path in paths:
                    begin = time.perf_counter()
                    answer = client.get(f"{_API}/{path}", headers={"If-None-Match": tags.get(path, "")})
                    took.append(time.perf_counter() - begin)
                    if answer.status_code != httpx.codes.NOT_MODIFIED:
                        tags[path] = answer.raise_for_status().headers["ETag"]
                due = time.monotonic() + _POLL_S
        return took

    def _world(self, over: threading.Event) -> None:
        """What happens while people watch: one release waits for more requests, others are measured and end."""
        ledger = self.stack.control.ledger
        due = {"event": 0.0, "measurement": 0.0, "watch": 0.0}
        requests = 100
        while not over.wait(0.1):
            now = time.monotonic()
            for kind, period in (("event", _EVENT_S), ("measurement", _MEASUREMENT_S), ("watch", _WATCH_S)):
                if now < due[kind]:
                    continue
                due[kind] = now + period
                requests += 10
                rollout = ledger.rollouts.get(self.going)
                if kind == "event":
                    ledger.events.append(rollout, EventKind.WAITING, _waits(requests))
                elif kind == "measurement":
                    ledger.measurements.append(rollout, full_ledger.judgement(requests, 0))
                else:
                    full_ledger.watch(ledger, self.size.gpus)

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        print(f"{what}: {time.monotonic() - begin:.0f} s", file=sys.stderr)


def _waits(requests: int) -> dict[str, Any]:
    return {"phase": "analysing", "index": 0, "for": "hold: min-requests", "why": f"{requests} of at least 9000"}


def _first_asked(size: Size) -> dict[str, list[str]]:
    """Paths of which none has been asked for before, by what they are."""
    some = range(40)
    releases = [1 + number * (size.rollouts // 40) for number in some]
    measured = [size.rollouts - number for number in some]
    return {
        "services": [f"services?limit=50&offset={number * size.services // 40}" for number in some],
        "services found": [f"services?limit=50&search=e-{number:04}"[:-1] for number in range(0, 400, 10)],
        "service": [f"services/{service_name(number)}" for number in some],
        "releases": [f"releases?limit=50&before={number}" for number in releases],
        "releases of a service": [f"releases?service={service_name(number)}" for number in some],
        "release": [f"releases/{number}" for number in releases],
        "course": [f"releases/{number}/course" for number in measured],
        "fleet": [f"fleet?look={number}" for number in some],
        "devices": [f"fleet/devices?limit=50&offset={number * size.gpus // 40}" for number in some],
        "devices found": [f"fleet/devices?limit=50&search=node-{number:05}" for number in some],
        "nodes": [f"fleet/nodes?limit=50&offset={number * size.gpus // 400}" for number in some],
        "quarantines": [f"fleet/quarantines?limit={1 + number}" for number in some],
    }


def main() -> int:
    """Run the benchmark; the last line is JSON.

    Returns:
        The exit status: 1 where a bar is not held.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=500)
    parser.add_argument("--rollouts", type=int, default=20_000)
    parser.add_argument("--gpus", type=int, default=10_000)
    parser.add_argument("--watched-s", type=float, default=300.0)
    options = parser.parse_args()
    if shutil.which("chromium") is None:
        parser.error("chromium is not here: install Debian's package chromium")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), Size(options.services, options.rollouts, options.gpus))
        try:
            measured = bench.run(options.watched_s)
        finally:
            bench.stack.stop(lambda _: None)
    held = {name: measured[name] < bar for name, bar in BARS.items()}
    print(json.dumps({"metric": "ui", **measured, "held": held}))
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
