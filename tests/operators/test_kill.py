"""A worker that is killed just before every single effect that a pod's task has: no pod is lost, none runs twice."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from benchmarks.launch import api_server, counts, kubeconfig
from bulkhead.collector import Collector
from bulkhead.control import Control
from bulkhead.ledger import engine as ledger_engine
from bulkhead.runtimes.kubernetes.access import client
from operators.collect import over
from operators.gpu_pod import GpuPodOperator
from tests.killing import Effects, run_in_fork

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    with api_server(pending_s=0.1) as url:
        kubeconfig(url, str(tmp_path))
        yield url


def _context(try_number: int) -> Any:
    ti = SimpleNamespace(
        dag_id="release",
        run_id="run",
        task_id="train",
        map_index=-1,
        try_number=try_number,
        max_tries=1,
        task=SimpleNamespace(retries=1),
        xcom_push=lambda key, value: None,
    )
    return {"ti": ti, "run_id": "run", "dag": None}


def _life(folder: Path, try_number: int, effects: Effects | None) -> int:
    """What the processes of Airflow do for one try, in one process of its own; its exit code."""

    def job() -> None:
        if effects is not None:
            _watch(effects)
        operator = GpuPodOperator(
            task_id="train",
            namespace="default",
            image="i",
            gpus=0,
            labels={"run-s": "0.3"},
            kubernetes_conn_id=None,
            config_file=str(folder / "kubeconfig"),
        )
        context = _context(try_number)
        method, event = "execute", None
        while True:
            try:
                result = getattr(operator, method)(context, *([event] if event else []))
                break
            except TaskDeferred as deferred:
                method, event = deferred.method_name, asyncio.run(_first(deferred.trigger))
        (folder / "result.json").write_text(json.dumps(result))
        if effects is not None:
            (folder / "effects.json").write_text(json.dumps(effects.seen))

    return run_in_fork(job)


def _watch(effects: Effects) -> None:
    """Each ledger that is opened from here on is watched, and everything else at once."""
    original, watched = ledger_engine._create, False

    def create(url: str) -> Any:
        nonlocal watched
        made = original(url)
        effects.watch_engine(made)
        watched = True
        return made

    ledger_engine._create = create
    effects.watch_process()
    assert not watched


async def _first(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


def _pass(control: Control, state: str) -> None:
    """Passes of the collector, while Airflow says so of the task, until nothing is left to do."""
    collector = Collector(control.launches, lambda access: client(access, {}))

    def states(**_: Any) -> dict[str, dict[str, str]]:
        return {"run": {"train": state}}

    control.launches.end([launch for launch, _ in over(control.launches.wanted(), states)], state)
    while not all(one.done for one in collector.collect()):
        pass


def _effects(folder: Path, control: Control) -> list[str]:
    assert control.launches.wanted() == []  # which makes the ledger: its own making is not the point here
    assert _life(folder, 1, Effects()) == 0
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
            assert _life(tmp_path, 1, Effects(point)) == -9
            if tried_again:
                (tmp_path / "result.json").unlink(missing_ok=True)
                assert _life(tmp_path, 2, None) == 0, f"after a kill at effect {point}"
                assert json.loads((tmp_path / "result.json").read_text()) == {"answer": 42}
            _pass(control, "success" if tried_again else "failed")
            seen = counts(url)
            assert seen["pods"] == [], f"left after a kill at effect {point}"
            assert seen["most_at_once"] <= 1, f"twice at once after a kill at effect {point}"
            assert control.launches.wanted() == control.launches.unwanted() == []
