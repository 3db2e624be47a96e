"""The collector on a real API server."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from kubernetes import client as k8s

from bulkhead.collector import Collector
from bulkhead.control import Control
from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.triggers.kubernetes_pod import PodGoneTrigger
from bulkhead.runtimes.kubernetes.access import client
from tests.fixtures.cluster import default_account, finish, launch, wait, with_dag
from tests.waiting import until

Job = Callable[..., GpuPodOperator]
Context = Callable[..., Any]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def collector(control: Control) -> Collector:
    return Collector(control.ledger.launches, lambda access: client(access, {}))


def _left(core: k8s.CoreV1Api, namespace: str) -> list[str]:
    pods = core.list_namespaced_pod(namespace).items
    return [pod.metadata.name for pod in pods if not pod.metadata.deletion_timestamp]


def test_a_pod_whose_run_is_over_is_ended(
    core: k8s.CoreV1Api, namespace: str, job: Job, context: Context, control: Control, collector: Collector
) -> None:
    default_account(core, namespace)
    trigger = launch(job(), context("train"))
    assert collector.collect() == [] and _left(core, namespace) == [trigger.name]
    control.ledger.launches.end_run("airflow:release/run", "its DAG run has ended")
    assert [one.what for one in collector.collect()] == ["told to end"]
    until(lambda: not core.list_namespaced_pod(namespace).items, "the pod's end")
    assert [(one.done, one.what) for one in collector.collect()] == [(True, "gone")]
    assert collector.collect() == []


def test_a_finished_pod_that_its_author_keeps_is_kept(
    core: k8s.CoreV1Api, namespace: str, job: Job, context: Context, control: Control, collector: Collector
) -> None:
    default_account(core, namespace)
    trigger = launch(job(on_finish_action="delete_succeeded_pod"), context("train"))
    finish(core, trigger.name, namespace, 1, "", "Error")
    control.ledger.launches.end_run("airflow:release/run", "its DAG run has ended")
    assert [(one.done, one.what) for one in collector.collect()] == [(True, "kept (Failed)")]
    assert _left(core, namespace) == [trigger.name]


async def test_a_cleared_task_waits_for_the_end_of_its_earlier_pod(
    core: k8s.CoreV1Api, namespace: str, job: Job, context: Context, control: Control
) -> None:
    default_account(core, namespace)
    first = await asyncio.to_thread(launch, job(), context("train"))
    again = with_dag(context("train", try_number=2, max_tries=1))
    operator = job()
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator.execute, again)
    assert isinstance(deferred.value.trigger, PodGoneTrigger)
    event = await wait(deferred.value.trigger)
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator.relaunch, again, event)
    assert _left(core, namespace) == [deferred.value.trigger.name] != [first.name]


def test_pods_of_another_installation_are_named_and_left_alone(
    core: k8s.CoreV1Api,
    namespace: str,
    job: Job,
    context: Context,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    default_account(core, namespace)
    launch(job(), context("train"))
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", f"sqlite:///{tmp_path}/theirs.db")
    theirs = launch(job(), context("evaluate"))
    assert os.environ["BULKHEAD_LEDGER_URL"].endswith("theirs.db")
    assert collector.orphans() == [f"{namespace}/{theirs.name}"]
