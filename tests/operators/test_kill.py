"""A worker that is killed just before every single effect that a pod's task has: no pod is lost, none runs twice."""

import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.launch import api_server, counts, kubeconfig
from bulkhead.collector import Collector
from bulkhead.control import Control
from bulkhead.operators.collect import over
from bulkhead.runtimes.kubernetes.access import client
from tests.programs.pod_life import live

pytestmark = pytest.mark.faults

# Forks of a server that has no threads: a fork of this process would inherit locks that other tests' threads hold.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.programs.pod_life"])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    with api_server(pending_s=0.1) as url:
        kubeconfig(url, str(tmp_path))
        yield url


def _life(folder: Path, try_number: int, kill_at: int | None = None) -> int | None:
    """Live one try in a process of its own; its exit code."""
    process = _processes.Process(target=live, args=(folder, try_number, kill_at, dict(os.environ)))
    process.start()
    process.join(240)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"try {try_number} did not end (kill at effect {kill_at})")
    return process.exitcode


def _pass(control: Control, state: str) -> None:
    """Passes of the collector, while Airflow says so of the task, until nothing is left to do."""
    collector = Collector(control.ledger.launches, lambda access: client(access, {}))

    def states(**_: Any) -> dict[str, dict[str, str]]:
        return {"run": {"train": state}}

    control.ledger.launches.end([launch for launch, _ in over(control.ledger.launches.active(), states)], state)
    while not all(one.done for one in collector.collect()):
        pass


def _effects(folder: Path, control: Control) -> list[str]:
    assert control.ledger.launches.active() == []  # which makes the ledger: its own making is not the point here
    assert _life(folder, 1, -1) == 0
    seen: list[str] = json.loads((folder / "effects.json").read_text())
    assert any("POST" in one for one in seen) and any("DELETE" in one for one in seen), seen
    return seen


@pytest.mark.parametrize("tried_again", [True, False], ids=["tried again", "failed for good"])
def test_whenever_the_worker_is_killed(cluster: str, control: Control, tmp_path: Path, tried_again: bool) -> None:
    points = len(_effects(tmp_path, control))
    assert points > 8
    for point in range(points):
        with api_server(pending_s=0.1) as url:
            kubeconfig(url, str(tmp_path))
            assert _life(tmp_path, 1, point) == -9
            if tried_again:
                (tmp_path / "result.json").unlink(missing_ok=True)
                assert _life(tmp_path, 2) == 0, f"after a kill at effect {point}"
                assert json.loads((tmp_path / "result.json").read_text()) == {"answer": 42}
            _pass(control, "success" if tried_again else "failed")
            seen = counts(url)
            assert seen["pods"] == [], f"left after a kill at effect {point}"
            assert seen["most_at_once"] <= 1, f"twice at once after a kill at effect {point}"
            assert control.ledger.launches.active() == control.ledger.launches.ended() == []
