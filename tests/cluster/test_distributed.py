"""Distributed jobs on a real API server and its Job controller; most need a kubelet."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.collector import Collector
from bulkhead.control import Control
from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.pods.exceptions import ApplicationFailedError, PodConfigError
from bulkhead.runtimes.kubernetes.access import client
from tests.fixtures.cluster import default_account, launch, wait, with_dag
from tests.waiting import until

Job = Callable[..., GpuPodOperator]
Context = Callable[..., Any]

pytestmark = pytest.mark.timeout(240)

TELL = (
    'printf \'{"version": 1, "result": {"rank": %s, "world": %s, "master": "%s"}}\' '
    '"$NODE_RANK" "$WORLD_SIZE" "$MASTER_ADDR" > "$BULKHEAD_TERMINATION_LOG"; '
)
FAIL = (
    'if [ "$NODE_RANK" = 1 ]; then echo no such layer; exit 3; fi; '
    "trap 'echo connection closed by peer; exit 1' TERM; sleep 120 & wait"
)


@pytest.fixture
def gang(job: Job) -> Job:
    def make(words: str = "true", **more: Any) -> GpuPodOperator:
        settings = {"nodes": 3, "cmds": ["sh", "-c"], "arguments": [words], "schedulername": None, **more}
        return job(**settings)

    return make


async def test_every_node_knows_its_place_and_node_0_tells_the_result(
    running_nodes: None, core: k8s.CoreV1Api, namespace: str, gang: Job, context: Context
) -> None:
    default_account(core, namespace)
    operator, task = gang(TELL, processes_per_node=2), context("train")
    trigger = await asyncio.to_thread(launch, operator, task)
    event = await wait(trigger)
    ranks = sorted(int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]) for pod in event["pods"])
    assert ranks == [0, 1, 2]
    service = core.read_namespaced_service(trigger.name, namespace)
    assert service.spec.cluster_ip == "None"
    result = await asyncio.to_thread(operator.resume, with_dag(task), event)
    assert result == {"rank": 0, "world": 6, "master": f"{trigger.name}-0.{trigger.name}"}
    until(lambda: not core.list_namespaced_pod(namespace).items, "the pods' end")
    until(lambda: not core.list_namespaced_service(namespace).items, "the service's end")


async def test_the_rank_that_failed_first_is_the_cause_and_ends_the_others(
    running_nodes: None, core: k8s.CoreV1Api, namespace: str, gang: Job, context: Context
) -> None:
    default_account(core, namespace)
    operator, task = gang(FAIL), context("train")
    event = await wait(await asyncio.to_thread(launch, operator, task))
    with pytest.raises(ApplicationFailedError, match=r"node rank 1 of 3 .* failed first") as caught:
        await asyncio.to_thread(operator.resume, with_dag(task), event)
    assert caught.value.failure.rank == 1 and "no such layer" in str(caught.value.failure)
    until(lambda: not core.list_namespaced_pod(namespace).items, "the end of the others")


async def test_a_task_that_is_marked_takes_its_job_along(
    running_nodes: None, core: k8s.CoreV1Api, namespace: str, gang: Job, context: Context
) -> None:
    default_account(core, namespace)
    trigger = await asyncio.to_thread(launch, gang("sleep 120", termination_grace_period=1), context("train"))
    until(lambda: len(core.list_namespaced_pod(namespace).items) == 3, "the pods")
    await trigger.on_kill()
    until(lambda: not core.list_namespaced_pod(namespace).items, "the pods' end")
    until(lambda: not k8s.BatchV1Api(core.api_client).list_namespaced_job(namespace).items, "the job's end")


async def test_a_queued_job_has_no_pod_until_it_is_admitted(
    core: k8s.CoreV1Api, namespace: str, gang: Job, context: Context
) -> None:
    default_account(core, namespace)
    trigger = await asyncio.to_thread(launch, gang(kueue_queue="team-a", schedulername="nobody"), context("train"))
    assert trigger.queued
    batch = k8s.BatchV1Api(core.api_client)
    made = batch.read_namespaced_job(trigger.name, namespace)
    assert made.spec.suspend and made.metadata.labels["kueue.x-k8s.io/queue-name"] == "team-a"
    assert core.list_namespaced_pod(namespace).items == []
    batch.patch_namespaced_job(trigger.name, namespace, {"spec": {"suspend": False}})  # as Kueue does
    until(lambda: len(core.list_namespaced_pod(namespace).items) == 3, "the pods")


def test_a_retry_finds_the_job_of_an_earlier_try(
    core: k8s.CoreV1Api, namespace: str, gang: Job, context: Context
) -> None:
    default_account(core, namespace)
    first = launch(gang(schedulername="nobody"), context("train"))
    second = launch(gang(schedulername="nobody"), context("train", try_number=2))
    assert first.name == second.name
    assert len(k8s.BatchV1Api(core.api_client).list_namespaced_job(namespace).items) == 1


def test_the_collector_ends_a_job_that_nobody_waits_for(
    core: k8s.CoreV1Api, namespace: str, gang: Job, context: Context, control: Control
) -> None:
    default_account(core, namespace)
    launch(gang(schedulername="nobody"), context("train"))
    collector = Collector(control.ledger.launches, lambda access: client(access, {}))
    assert collector.orphans() == []
    control.ledger.launches.end_run("airflow:release/run", "its DAG run has ended")
    assert [one.what for one in collector.collect()] == ["told to end"]
    until(lambda: not core.list_namespaced_pod(namespace).items, "the pods' end")
    until(lambda: [one.what for one in collector.collect()] in ([], ["gone"]), "the job's end")


def test_as_a_jobset_where_the_cluster_has_it(core: k8s.CoreV1Api, namespace: str, gang: Job, context: Context) -> None:
    default_account(core, namespace)
    groups = {group.name for group in k8s.ApisApi(core.api_client).get_api_versions().groups}
    operator = gang(backend="jobset", schedulername="nobody")
    if "jobset.x-k8s.io" not in groups:
        with pytest.raises(PodConfigError, match="knows no JobSet"):
            operator.execute(with_dag(context("train")))
        return
    trigger = launch(operator, context("train"))
    custom = k8s.CustomObjectsApi(core.api_client)
    made = custom.get_namespaced_custom_object("jobset.x-k8s.io", "v1alpha2", namespace, "jobsets", trigger.name)
    (replicated,) = made["spec"]["replicatedJobs"]
    assert replicated["template"]["spec"]["completions"] == 3
    operator._delete(trigger.name, namespace)
