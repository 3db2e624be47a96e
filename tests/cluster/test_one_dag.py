"""The same DAG file on the local runtime and on a real cluster, with the same result."""

import asyncio
import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from kubernetes import client as k8s

from bulkhead.control import Control
from bulkhead.operators.pod import PodOperator
from bulkhead.pods.exceptions import ApplicationFailedError
from tests.fixtures.cluster import IMAGE, default_account, with_dag
from tests.waiting import until

Context = Callable[..., Any]

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def tasks(control: Control, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, PodOperator]:
    monkeypatch.setenv("BULKHEAD_MLFLOW_TRACKING_URI", mlflow_uri)
    found = runpy.run_path(str(Path(__file__).with_name("one_dag.py")))
    tasks = {name: found[name] for name in ("train", "fail", "ranks")}
    for task in tasks.values():
        task.image = IMAGE  # as its template is rendered
    return tasks


@pytest.fixture(params=["here", "cluster"])
def where(request: pytest.FixtureRequest, core: k8s.CoreV1Api, namespace: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the configuration says of the runtime; the DAG says nothing."""
    if request.param == "cluster":
        request.getfixturevalue("running_nodes")
        default_account(core, namespace)
        extra = {"kube_config_path": os.environ["KUBECONFIG"], "namespace": namespace}
        monkeypatch.setenv("AIRFLOW_CONN_TEAM_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))
        monkeypatch.setenv("AIRFLOW__BULKHEAD__RUNTIME_CONN_ID", "team_cluster")
    return str(request.param)


async def _run(task: PodOperator, context: Any) -> Any:
    """As Airflow's processes do, until the task has ended."""
    method, more = "execute", []
    while True:
        try:
            return await asyncio.to_thread(getattr(task, method), with_dag(context), *more)
        except TaskDeferred as deferred:
            trigger, method = deferred.trigger, deferred.method_name
        more = [await _first(trigger)]


async def _first(trigger: Any) -> Any:
    async with asyncio.timeout(120):
        async for event in trigger.run():
            return event.payload
    raise AssertionError("the trigger ended without an event")


async def test_a_training_has_the_same_result(where: str, tasks: dict[str, PodOperator], context: Context) -> None:
    result = await _run(tasks["train"], context("train"))
    assert (result["model_uri"], result["loss"]) == ("models:/m-1", 0.5)
    assert result["run_id"] and result["experiment_id"]


async def test_a_failure_has_the_same_type(where: str, tasks: dict[str, PodOperator], context: Context) -> None:
    with pytest.raises(ApplicationFailedError, match="exit code 3") as caught:
        await _run(tasks["fail"], context("fail"))
    assert "no such layer" in str(caught.value.failure)


async def test_several_nodes_have_the_same_result(
    where: str, tasks: dict[str, PodOperator], context: Context, core: k8s.CoreV1Api, namespace: str
) -> None:
    assert await _run(tasks["ranks"], context("ranks")) == {"rank": 0, "world": 2}
    until(lambda: not core.list_namespaced_pod(namespace).items, "the pods' end")
