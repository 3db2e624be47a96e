"""A pod is launched once, and known to the ledger."""

import asyncio
from collections.abc import Callable
from typing import Any

import kmock
import pytest
from airflow.sdk.exceptions import (
    TaskDeferred,
)

from bulkhead.control import Control
from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.identity import identity
from bulkhead.operators.triggers.kubernetes_pod import PodGoneTrigger
from bulkhead.pods.exceptions import (
    ClusterUnreachableError,
    PodConfigError,
)
from bulkhead.pods.outcome import Outcome
from tests.fixtures.gpu_pod import ended, event, launch, pods_of, resume, with_dag
from tests.fixtures.kubernetes import PODS

Context = Callable[..., Any]


# Launched once


async def test_launching_again_adopts_its_own_pod(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await launch(operator(), context("train"))
    second = await launch(operator(), context("train"))
    assert first.name == second.name and len(pods_of(cluster)) == 1


async def test_a_retry_waits_for_the_pod_of_an_earlier_try(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await launch(operator(), context("train", try_number=1))
    await cluster.patch(f"/api/v1/namespaces/default/pods/{first.name}", json={"status": {"phase": "Running"}})
    assert (await launch(operator(), context("train", try_number=2))).name == first.name


async def test_a_pod_that_finished_while_nobody_watched_is_used(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await launch(operator(), context("train", try_number=1))
    status = ended(0, Outcome(result={"accuracy": 0.98}).encode())
    status["containerStatuses"][0] |= {"image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    await cluster.patch(f"/api/v1/namespaces/default/pods/{first.name}", json={"status": status})
    result = await asyncio.to_thread(operator().execute, with_dag(context("train", try_number=2)))
    assert result == {"accuracy": 0.98}


async def test_a_name_that_somebody_else_has_is_not_adopted(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    task = context("train")
    name = identity(task).pod_name(1)
    theirs = {
        "metadata": {"name": name, "namespace": "default", "labels": {}},
        "spec": {"containers": []},
        "status": {},
    }
    cluster.objects[PODS, "default", name] = theirs
    with pytest.raises(PodConfigError, match="is not ours"):
        await asyncio.to_thread(operator().execute, with_dag(task))


async def test_a_pod_that_is_being_deleted_is_not_adopted(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    trigger = await launch(operator(), context("train"))
    dying = {"metadata": {"deletionTimestamp": "2026-11-24T10:00:00Z", "finalizers": ["x/y"]}}
    await cluster.patch(f"/api/v1/namespaces/default/pods/{trigger.name}", json=dying)
    with pytest.raises(ClusterUnreachableError, match="being deleted"):
        await asyncio.to_thread(operator().execute, with_dag(context("train")))


# The ledger knows every pod


async def test_a_launch_is_recorded_before_its_pod_is_there_and_settled_at_its_end(
    operator: Callable[..., GpuPodOperator], context: Context, control: Control
) -> None:
    job, task = operator(), context("train")
    trigger = await launch(job, task)
    (known,) = control.ledger.launches.active()
    assert (known.pod, known.namespace, known.keep) == (trigger.name, "default", "never")
    assert known.task == {"dag_id": "release", "run_id": "run", "task_id": "train", "map_index": -1}
    await resume(job, task, event(trigger, ended(0)))
    assert control.ledger.launches.active() == control.ledger.launches.ended() == []


async def test_a_pod_that_could_not_be_deleted_is_left_to_the_collector(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, control: Control
) -> None:
    job, task = operator(), context("train")
    trigger = await launch(job, task)
    cluster[kmock.action.DELETE] << 403 << {"message": "no"}
    await resume(job, task, event(trigger, ended(0)))
    assert [launch.pod for launch in control.ledger.launches.active()] == [trigger.name]


async def test_without_a_ledger_nothing_is_created(
    cluster: kmock.KubernetesEmulator,
    operator: Callable[..., GpuPodOperator],
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(ClusterUnreachableError, match="nothing was created: ledger postgresql") as caught:
        await asyncio.to_thread(operator().execute, with_dag(context("train")))
    assert caught.value.failure.kind == "ledger" and len(cluster) == 0


async def test_a_cleared_task_first_sees_the_end_of_the_pod_from_before(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await launch(operator(), context("train", max_tries=0))
    await cluster.patch(f"/api/v1/namespaces/default/pods/{first.name}", json={"status": {"phase": "Running"}})
    again = context("train", try_number=2, max_tries=1)
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator().execute, with_dag(again))
    trigger, method = deferred.value.trigger, deferred.value.method_name
    assert isinstance(trigger, PodGoneTrigger) and (trigger.name, method) == (first.name, "relaunch")
    assert pods_of(cluster) == {}, "told to end, and nothing new beside it"
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator().relaunch, with_dag(again), {"why": "gone", "name": first.name})
    assert list(pods_of(cluster)) == [deferred.value.trigger.name] != [first.name]


async def test_a_pod_from_before_on_a_lost_node_is_given_up(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await launch(operator(), context("train", max_tries=0))
    stuck = {
        "status": {"phase": "Running"},
        "metadata": {"deletionTimestamp": "2026-11-24T10:00:00Z", "finalizers": ["x/y"]},
    }
    await cluster.patch(f"/api/v1/namespaces/default/pods/{first.name}", json=stuck)
    again = with_dag(context("train", try_number=2, max_tries=1))
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator().relaunch, again, {"why": "late", "name": first.name})
    assert deferred.value.trigger.name in pods_of(cluster)
