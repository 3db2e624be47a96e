"""The operator, its trigger and the watch on a real API server (with a kubelet where the cluster has one)."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.pods.exceptions import ApplicationFailedError, HostOutOfMemoryError, PodConfigError, PodUnschedulableError
from bulkhead.pods.gpu import bind, place
from bulkhead.pods.gpu_request import GpuRequest
from bulkhead.pods.outcome import FailureClass, Outcome
from bulkhead.pods.refusal import classify_refusal
from tests.fixtures.cluster import IMAGE, default_account, finish, launch, wait, with_dag
from tests.waiting import until

Job = Callable[..., GpuPodOperator]
Context = Callable[..., Any]

pytestmark = pytest.mark.timeout(180)


def test_what_it_makes_is_admitted_at_the_restricted_level(
    core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    trigger = launch(job(), context("train"))
    made = core.read_namespaced_pod(trigger.name, namespace)
    assert made.metadata.labels["bulkhead.dev/managed"] == "true"


def test_what_is_not_hardened_is_refused_and_the_refusal_has_a_name(core: k8s.CoreV1Api, namespace: str) -> None:
    default_account(core, namespace)
    container = k8s.V1Container(name="base", image=IMAGE)
    pod = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="bad"), spec=k8s.V1PodSpec(containers=[container]))
    with pytest.raises(ApiException) as caught:
        core.create_namespaced_pod(namespace, pod)
    failure = classify_refusal(caught.value.status, caught.value.body, namespace)
    assert (failure.failure_class, failure.kind) == (FailureClass.ADMISSION, "policy")


def test_creating_is_the_lock(core: k8s.CoreV1Api, namespace: str, job: Job, context: Context) -> None:
    default_account(core, namespace)
    first, second = launch(job(), context("train")), launch(job(), context("train"))
    assert first.name == second.name
    assert len(core.list_namespaced_pod(namespace).items) == 1


async def test_the_end_of_a_pod_comes_with_its_outcome(
    core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    operator, task = job(), context("train")
    trigger = await asyncio.to_thread(launch, operator, task)
    left = Outcome(result={"accuracy": 0.98}).encode()
    event = await wait(trigger, lambda: finish(core, trigger.name, namespace, 0, left, "Completed"))
    assert await asyncio.to_thread(operator.resume, with_dag(task), event) == {"accuracy": 0.98}


async def test_a_failure_has_its_type(core: k8s.CoreV1Api, namespace: str, job: Job, context: Context) -> None:
    default_account(core, namespace)
    operator, task = job(), context("train")
    trigger = await asyncio.to_thread(launch, operator, task)
    event = await wait(trigger, lambda: finish(core, trigger.name, namespace, 137, "", "OOMKilled"))
    with pytest.raises(HostOutOfMemoryError):
        await asyncio.to_thread(operator.resume, with_dag(task), event)


async def test_a_pod_that_is_deleted_is_gone(core: k8s.CoreV1Api, namespace: str, job: Job, context: Context) -> None:
    default_account(core, namespace)
    trigger = await asyncio.to_thread(launch, job(), context("train"))
    event = await wait(trigger, lambda: core.delete_namespaced_pod(trigger.name, namespace, grace_period_seconds=0))
    assert event["why"] == "gone"


async def test_when_its_task_is_marked_the_pod_goes(
    core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    trigger = await asyncio.to_thread(launch, job(), context("train"))
    await trigger.on_kill()
    await trigger.on_kill()
    left = core.list_namespaced_pod(namespace).items
    assert all(pod.metadata.deletion_timestamp for pod in left)


def test_a_namespace_that_does_not_exist_is_named(job: Job, context: Context) -> None:
    operator = job()
    operator.namespace = "no-such-namespace"
    with pytest.raises(PodConfigError, match="create it, or name another"):
        operator.execute(with_dag(context("train")))


async def test_gpus_that_no_node_has_are_named(
    node: None, core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    operator, task = job(gpus=64, schedulername=None, startup_timeout_seconds=3), context("train")
    trigger = await asyncio.to_thread(launch, operator, task)
    event = await wait(trigger)
    assert event["why"] == "stuck"
    with pytest.raises(PodUnschedulableError, match=r"Insufficient nvidia\.com/gpu") as caught:
        await asyncio.to_thread(operator.resume, with_dag(task), event)
    assert caught.value.failure.kind == "gpu"


async def test_a_product_that_no_node_has_is_named(
    node: None, core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    operator, task = job(gpu_product="NVIDIA-X", schedulername=None, startup_timeout_seconds=3), context("train")
    event = await wait(await asyncio.to_thread(launch, operator, task))
    with pytest.raises(PodUnschedulableError) as caught:
        await asyncio.to_thread(operator.resume, with_dag(task), event)
    assert caught.value.failure.kind == "selector"


async def test_a_secret_that_does_not_exist_is_named_by_the_pods_events(
    running_nodes: None, core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    source = k8s.V1SecretVolumeSource(secret_name="no-such-secret")
    volume, mount = k8s.V1Volume(name="keys", secret=source), k8s.V1VolumeMount(name="keys", mount_path="/keys")
    operator = job(schedulername=None, volumes=[volume], volume_mounts=[mount])
    task = context("train")
    event = await wait(await asyncio.to_thread(launch, operator, task))
    assert event["why"] == "stuck"
    with pytest.raises(PodConfigError, match='secret "no-such-secret" not found') as caught:
        await asyncio.to_thread(operator.resume, with_dag(task), event)
    assert caught.value.failure.kind == "volume"


async def test_a_sidecar_that_runs_on_does_not_keep_the_task(
    running_nodes: None, core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    spec = k8s.V1PodSpec(containers=[k8s.V1Container(name="proxy", image=IMAGE, command=["sleep", "600"])])
    operator = job(schedulername=None, arguments=["exit 3"], full_pod_spec=k8s.V1Pod(spec=spec))
    task = context("train")
    event = await wait(await asyncio.to_thread(launch, operator, task))
    assert event["why"] == "ended"
    with pytest.raises(ApplicationFailedError) as caught:
        await asyncio.to_thread(operator.resume, with_dag(task), event)
    assert "exit code 3" in caught.value.failure.message


def _scheduled(core: k8s.CoreV1Api, namespace: str, job: Job, name: str, request: GpuRequest) -> str | None:
    """The node that the scheduler gives a pod, or None once it has said that none takes it."""
    operator = job(schedulername=None)
    pod = place(operator.build_pod_request_obj(dry_run=True), request)
    pod.metadata.name = name
    core.create_namespaced_pod(namespace, pod)

    def decided() -> tuple[str | None] | None:
        found = core.read_namespaced_pod(name, namespace)
        refused = any(condition.reason == "Unschedulable" for condition in found.status.conditions or ())
        return (found.spec.node_name,) if found.spec.node_name or refused else None

    return until(decided, "the scheduler")[0]


def test_nodes_are_avoided_by_their_names(node: None, core: k8s.CoreV1Api, namespace: str, job: Job) -> None:
    default_account(core, namespace)
    names = tuple(one.metadata.name for one in core.list_node().items)
    assert _scheduled(core, namespace, job, "forbidden", GpuRequest(0, exclude_nodes=names)) is None
    assert _scheduled(core, namespace, job, "discouraged", GpuRequest(0, avoid_nodes=names)) in names
    if len(names) > 1:
        assert _scheduled(core, namespace, job, "elsewhere", GpuRequest(0, exclude_nodes=names[1:])) == names[0]


def test_a_pod_is_bound_to_a_node_by_its_name(node: None, core: k8s.CoreV1Api, namespace: str, job: Job) -> None:
    default_account(core, namespace)
    name = core.list_node().items[0].metadata.name
    pod = bind(job(schedulername=None).build_pod_request_obj(dry_run=True), name)
    pod.metadata.name = "bound"
    core.create_namespaced_pod(namespace, pod)
    until(lambda: core.read_namespaced_pod("bound", namespace).spec.node_name == name, "the scheduler")


async def test_missing_access_is_named_with_the_role_that_grants_it(
    core: k8s.CoreV1Api, namespace: str, job: Job, context: Context, powerless: str
) -> None:
    operator, task = job(config_file=powerless), context("train")
    with pytest.raises(PodConfigError, match=r'resources: \["pods"\], verbs: \["create"\]') as caught:
        await asyncio.to_thread(operator.execute, with_dag(task))
    assert caught.value.failure.kind == "access"
    trigger = await asyncio.to_thread(launch, job(), context("evaluate"))
    trigger.access["config_file"] = powerless
    event = await wait(trigger)
    assert event["why"] == "refused" and "the verbs list and watch" in event["text"]


async def test_a_full_quota_is_named_and_waited_for(
    core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    spec = k8s.V1ResourceQuotaSpec(hard={"pods": "0"})
    quota = k8s.V1ResourceQuota(metadata=k8s.V1ObjectMeta(name="none"), spec=spec)
    core.create_namespaced_resource_quota(namespace, quota)
    until(lambda: core.read_namespaced_resource_quota("none", namespace).status.hard, "the quota to be taken up")
    with pytest.raises(PodUnschedulableError, match="exceeded quota") as caught:
        await asyncio.to_thread(job().execute, with_dag(context("train")))
    assert caught.value.failure.kind == "quota"


async def test_a_program_runs_and_leaves_its_outcome(
    running_nodes: None, core: k8s.CoreV1Api, namespace: str, job: Job, context: Context
) -> None:
    default_account(core, namespace)
    words = """printf '{"version": 1, "result": {"answer": 42}}' > "$BULKHEAD_TERMINATION_LOG" """
    operator, task = job(arguments=[words], schedulername=None), context("train")
    event = await wait(await asyncio.to_thread(launch, operator, task))
    assert await asyncio.to_thread(operator.resume, with_dag(task), event) == {"answer": 42}
