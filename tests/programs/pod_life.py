"""One try of a pod's task, as the processes of Airflow live it, in one process of its own."""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import TaskDeferred

from bulkhead.ledger import engine as ledger_engine
from bulkhead.operators.gpu_pod import GpuPodOperator
from tests.killing import Effects


def live(folder: Path, try_number: int, kill_at: int | None, environment: Mapping[str, str]) -> None:
    """Launch, wait, read the end; leaves ``result.json`` and, without a kill, ``effects.json``.

    Args:
        folder: with ``kubeconfig``.
        try_number: Airflow's.
        kill_at: effect before which this process ends by SIGKILL; -1 to count only, None to look at none.
        environment: of the process.
    """
    os.environ.update(environment)
    effects = None if kill_at is None else Effects(kill_at)
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
    context, method, event = _context(try_number), "execute", None
    while True:
        try:
            result = getattr(operator, method)(context, *([event] if event else []))
            break
        except TaskDeferred as deferred:
            method, event = deferred.method_name, asyncio.run(_first(deferred.trigger))
    (folder / "result.json").write_text(json.dumps(result))
    if effects is not None:
        (folder / "effects.json").write_text(json.dumps(effects.seen))


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


def _watch(effects: Effects) -> None:
    """Each ledger that is opened from here on is watched, and everything else at once."""
    original = ledger_engine.engine_of

    def create(url: str) -> Any:
        made = original(url)
        effects.watch_engine(made)
        return made

    ledger_engine.engine_of = create
    effects.watch_process()


async def _first(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")
