"""The operator over a Kubernetes API in memory; ``tests/cluster`` is where a real one comes in."""

import asyncio
from collections.abc import Callable
from typing import Any

import kmock
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from kubernetes import client as k8s

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.pods.exceptions import (
    ApplicationFailedError,
    ClusterUnreachableError,
    HostOutOfMemoryError,
    NodeLostError,
    PodConfigError,
    PodPreemptedError,
    PodRefusedError,
    PodUnschedulableError,
)
from bulkhead.pods.hardening import Relaxations
from bulkhead.pods.outcome import FailureClass, Outcome
from bulkhead.pods.policy import Record
from operators.gpu_pod import GpuPodOperator
from operators.identity import identity
from operators.triggers.kubernetes_pod import KubernetesPodTrigger, PodGoneTrigger
from tests.fixtures.kubernetes import PODS

Context = Callable[..., Any]
DIGEST = "repo/train@sha256:" + "0" * 64


@pytest.fixture
def operator(kubeconfig: str, control: Control) -> Callable[..., GpuPodOperator]:
    def make(**more: Any) -> GpuPodOperator:
        settings = {"image": DIGEST, "cmds": ["python"], "arguments": ["-m", "job"], "get_logs": False, **more}
        return GpuPodOperator(
            task_id="train", namespace="default", kubernetes_conn_id=None, config_file=kubeconfig, **settings
        )

    return make


def _with_dag(context: Any) -> Any:
    context["run_id"], context["dag"] = context["ti"].run_id, None
    return context


async def _launch(operator: GpuPodOperator, context: Any) -> KubernetesPodTrigger:
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator.execute, _with_dag(context))
    assert isinstance(deferred.value.trigger, KubernetesPodTrigger)
    return deferred.value.trigger


def _event(trigger: KubernetesPodTrigger, status: dict[str, Any] | None, why: str = "ended") -> dict[str, Any]:
    pod = status and {"metadata": {"name": trigger.name}, "spec": {"nodeName": "gpu-7"}, "status": status}
    return {"name": trigger.name, "namespace": "default", "why": why, "pod": pod, "text": "so it is"}


def _ended(code: int, message: str = "", reason: str = "Error", **more: Any) -> dict[str, Any]:
    terminated = {"exitCode": code, "reason": reason, "message": message, "startedAt": "2026-11-24T10:00:00Z"}
    containers = [{"name": "base", "state": {"terminated": terminated}}]
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": containers, **more}


async def _resume(operator: GpuPodOperator, context: Any, event: dict[str, Any]) -> Any:
    return await asyncio.to_thread(operator.resume, _with_dag(context), event)


def _pods(cluster: kmock.KubernetesEmulator) -> dict[str, Any]:
    return {name: obj for (_, _, name), obj in cluster.objects.items() if not obj.deleted}


# One pod's life


async def test_a_pods_life_costs_two_requests_besides_the_watch(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    job, task = operator(), context("train")
    trigger = await _launch(job, task)
    left = Outcome(result={"accuracy": 0.98}).encode()
    assert await _resume(job, task, _event(trigger, _ended(0, left))) == {"accuracy": 0.98}
    assert [request.method.value for request in cluster] == ["POST", "DELETE"]
    assert _pods(cluster) == {}


async def test_the_pod_is_named_labelled_hardened_and_asks_for_gpus(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    task = context("train")
    job = operator(gpus=4, gpu_product="NVIDIA-H100-80GB-HBM3", shared_memory="16Gi", kueue_queue="team-a")
    trigger = await _launch(job, task)
    (made,) = _pods(cluster).values()
    assert trigger.name == made["metadata"]["name"] == identity(task).pod_name(1)
    labels = made["metadata"]["labels"]
    assert identity(task).labels().items() <= labels.items()
    assert (labels["bulkhead.dev/managed"], labels["kueue.x-k8s.io/queue-name"]) == ("true", "team-a")
    spec = made["spec"]
    container = spec["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "4"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert {"name": "BULKHEAD_TERMINATION_LOG", "value": "/dev/termination-log"} in container["env"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] == 24 * 3600
    assert len(spec["containers"]) == 1, "no XCom sidecar"


@pytest.mark.parametrize("push", [True, False])
async def test_other_tasks_can_see_which_pod_it_is(
    operator: Callable[..., GpuPodOperator], context: Context, push: bool
) -> None:
    pushed: dict[str, Any] = {}
    trigger = await _launch(operator(do_xcom_push=push), context("train", xcoms=pushed))
    assert pushed == ({"pod_name": trigger.name, "pod_namespace": "default"} if push else {})


async def test_the_authors_name_begins_the_pods(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    task = context("train")
    trigger = await _launch(operator(name="Nightly_Run"), task)
    assert trigger.name == identity(task).pod_name(1, "nightly-run")
    assert trigger.name.startswith("nightly-run-")


def test_parts_of_the_pod_may_be_given_as_dictionaries() -> None:
    """As KubernetesPodOperator takes them."""
    job = GpuPodOperator(
        task_id="t",
        image=DIGEST,
        security_context={"runAsUser": 1000},
        container_security_context={"runAsGroup": 1000},
        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        gpu_memory_gib=40,
    )
    spec = job.build_pod_request_obj(dry_run=True).spec
    assert (spec.security_context.run_as_user, spec.security_context.run_as_non_root) == (1000, True)
    own = spec.containers[0].security_context
    assert (own.run_as_group, own.allow_privilege_escalation) == (1000, False)
    required = spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    assert required.node_selector_terms[0].match_expressions[0].values == ["40959"]


def test_a_dictionary_is_no_way_around_the_hardening() -> None:
    job = GpuPodOperator(task_id="t", image=DIGEST, container_security_context={"privileged": True})
    with pytest.raises(InvalidInputError, match="privileged"):
        job.build_pod_request_obj(dry_run=True)


async def test_the_log_is_read_once_at_the_end(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, capsys: Any
) -> None:
    job, task = operator(get_logs=True), context("train")
    trigger = await _launch(job, task)
    cluster[f"get /api/v1/namespaces/default/pods/{trigger.name}/log"] << b"epoch 1\n"
    await _resume(job, task, _event(trigger, _ended(0)))
    assert "epoch 1" in capsys.readouterr().out
    assert len(cluster) == 3


async def test_what_was_followed_to_its_end_is_not_read_again(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, capsys: Any
) -> None:
    job, task = operator(get_logs=True), context("train")
    trigger = await _launch(job, task)
    assert trigger.stream_logs
    position = {"second": 1_790_000_000, "seen": 1, "before": 0}
    event = {**_event(trigger, _ended(0)), "logs": {"base": {"complete": True, "position": position}}}
    await _resume(job, task, event)
    assert [request.method.value for request in cluster] == ["POST", "DELETE"]


async def test_what_was_followed_half_way_is_read_from_there(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, capsys: Any
) -> None:
    job, task = operator(get_logs=True), context("train")
    trigger = await _launch(job, task)
    position = {"second": 1_790_000_000, "seen": 1, "before": 0}
    event = {**_event(trigger, _ended(0)), "logs": {"base": {"complete": False, "position": position}}}
    log = b"2026-09-21T14:13:20.1Z epoch 1\n2026-09-21T14:13:20.2Z epoch 2\n"
    cluster[f"get /api/v1/namespaces/default/pods/{trigger.name}/log"] << log
    await _resume(job, task, event)
    out = capsys.readouterr().out
    assert "epoch 2" in out and "epoch 1" not in out


@pytest.mark.parametrize(("action", "kept"), [("delete_pod", 0), ("delete_succeeded_pod", 1), ("keep_pod", 1)])
async def test_a_failed_pod_is_kept_where_the_author_wants_it(
    cluster: kmock.KubernetesEmulator,
    operator: Callable[..., GpuPodOperator],
    context: Context,
    action: str,
    kept: int,
) -> None:
    job, task = operator(on_finish_action=action), context("train")
    trigger = await _launch(job, task)
    with pytest.raises(HostOutOfMemoryError):
        await _resume(job, task, _event(trigger, _ended(137, reason="OOMKilled")))
    assert len(_pods(cluster)) == kept


# How it ends


@pytest.mark.parametrize(
    ("status", "why", "kind"),
    [
        (_ended(137, reason="OOMKilled"), "ended", HostOutOfMemoryError),
        (
            _ended(143, conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]),
            "ended",
            PodPreemptedError,
        ),
        (None, "gone", NodeLostError),
        (None, "refused", PodConfigError),
        ({"phase": "Pending"}, "stuck", PodUnschedulableError),
        (
            {
                "phase": "Pending",
                "containerStatuses": [
                    {"name": "base", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no"}}}
                ],
            },
            "stuck",
            PodConfigError,
        ),
    ],
)
async def test_a_failure_has_a_type_and_its_node(
    operator: Callable[..., GpuPodOperator],
    context: Context,
    status: dict[str, Any] | None,
    why: str,
    kind: type[Exception],
) -> None:
    job, task = operator(), context("train")
    trigger = await _launch(job, task)
    with pytest.raises(kind) as caught:
        await _resume(job, task, _event(trigger, status, why))
    if status is not None:
        assert caught.value.node == "gpu-7"


async def test_what_a_failed_pod_had_found_is_not_lost(
    operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    pushed: dict[str, Any] = {}
    job, task = operator(), context("train", xcoms=pushed)
    trigger = await _launch(job, task)
    with pytest.raises(ApplicationFailedError):
        await _resume(job, task, _event(trigger, _ended(1, Outcome(result={"epochs": 3}).encode())))
    assert pushed["return_value"] == {"epochs": 3}


async def test_an_exit_code_may_mean_to_skip(operator: Callable[..., GpuPodOperator], context: Context) -> None:
    job, task = operator(skip_on_exit_code=99), context("train")
    trigger = await _launch(job, task)
    with pytest.raises(AirflowSkipException, match="exit code 99"):
        await _resume(job, task, _event(trigger, _ended(99)))


async def test_the_next_try_stays_away_from_the_node_and_has_more_memory(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    limits = k8s.V1ResourceRequirements(limits={"memory": "2Gi"}, requests={"memory": "2Gi"})
    job, task = operator(container_resources=limits), context("train", retries=3)
    history = [
        Record(FailureClass.DEVICE_FAULT, "ecc", "gpu-7", "s3://c/9"),
        Record(FailureClass.HOST_OOM, "", "gpu-8"),
    ]
    key = f"bulkhead.failures.{identity(task).episode}"
    task["task_state_store"].set(key, [record.dump() for record in history])
    await _launch(job, task)
    (made,) = _pods(cluster).values()
    terms = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = terms["nodeSelectorTerms"][0]["matchExpressions"]
    assert (expression["operator"], expression["values"]) == ("NotIn", ["gpu-7"])
    assert made["spec"]["containers"][0]["resources"]["limits"]["memory"] == str(3 * 2**30)
    assert {"name": "BULKHEAD_RESUME_FROM", "value": "s3://c/9"} in made["spec"]["containers"][0]["env"]


async def test_a_node_under_quarantine_is_avoided(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, control: Control
) -> None:
    control.ledger.request_quarantine(target="gpu-3", key="k", reason="xid 79", requested_by="a test")
    await _launch(operator(), context("train"))
    (made,) = _pods(cluster).values()
    terms = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == ["gpu-3"]


@pytest.mark.parametrize("status", [201, 409])
async def test_devices_of_a_class_are_claimed_by_a_template_that_is_there_once(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, status: int
) -> None:
    templates = "post /apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates"
    cluster[templates] << status << {"metadata": {}, "spec": {"spec": {}}}
    await _launch(operator(gpus=2, device_class="gpu.nvidia.com"), context("train"))
    (made,) = [one for one in _pods(cluster).values() if "containers" in one["spec"]]
    assert made["spec"]["resourceClaims"][0]["resourceClaimTemplateName"].startswith("bulkhead-gpu.nvidia.com-")
    assert "limits" not in made["spec"]["containers"][0]["resources"]


async def test_a_cluster_without_resource_claims_is_named(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    templates = "post /apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates"
    cluster[templates] << 404 << b"404 page not found"
    with pytest.raises(PodConfigError, match="leave device_class out"):
        await asyncio.to_thread(operator(device_class="c").execute, _with_dag(context("train")))


# Launched once


async def test_launching_again_adopts_its_own_pod(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await _launch(operator(), context("train"))
    second = await _launch(operator(), context("train"))
    assert first.name == second.name and len(_pods(cluster)) == 1


async def test_a_retry_waits_for_the_pod_of_an_earlier_try(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await _launch(operator(), context("train", try_number=1))
    await cluster.patch(f"/api/v1/namespaces/default/pods/{first.name}", json={"status": {"phase": "Running"}})
    assert (await _launch(operator(), context("train", try_number=2))).name == first.name


async def test_a_pod_that_finished_while_nobody_watched_is_used(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await _launch(operator(), context("train", try_number=1))
    status = _ended(0, Outcome(result={"accuracy": 0.98}).encode())
    status["containerStatuses"][0] |= {"image": "i", "imageID": "i", "ready": False, "restartCount": 0}
    await cluster.patch(f"/api/v1/namespaces/default/pods/{first.name}", json={"status": status})
    result = await asyncio.to_thread(operator().execute, _with_dag(context("train", try_number=2)))
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
    with pytest.raises(PodConfigError, match="somebody else's"):
        await asyncio.to_thread(operator().execute, _with_dag(task))


async def test_a_pod_that_is_being_deleted_is_not_adopted(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    trigger = await _launch(operator(), context("train"))
    dying = {"metadata": {"deletionTimestamp": "2026-11-24T10:00:00Z", "finalizers": ["x/y"]}}
    await cluster.patch(f"/api/v1/namespaces/default/pods/{trigger.name}", json=dying)
    with pytest.raises(ClusterUnreachableError, match="being deleted"):
        await asyncio.to_thread(operator().execute, _with_dag(context("train")))


# The ledger knows every pod


async def test_a_launch_is_recorded_before_its_pod_is_there_and_settled_at_its_end(
    operator: Callable[..., GpuPodOperator], context: Context, control: Control
) -> None:
    job, task = operator(), context("train")
    trigger = await _launch(job, task)
    (launch,) = control.launches.wanted()
    assert (launch.pod, launch.namespace, launch.keep) == (trigger.name, "default", "never")
    assert launch.task == {"dag_id": "release", "run_id": "run", "task_id": "train", "map_index": -1}
    await _resume(job, task, _event(trigger, _ended(0)))
    assert control.launches.wanted() == control.launches.unwanted() == []


async def test_a_pod_that_could_not_be_deleted_is_left_to_the_collector(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, control: Control
) -> None:
    job, task = operator(), context("train")
    trigger = await _launch(job, task)
    cluster[kmock.action.DELETE] << 500 << {"message": "etcdserver: request timed out"}
    await _resume(job, task, _event(trigger, _ended(0)))
    assert [launch.pod for launch in control.launches.wanted()] == [trigger.name]


async def test_without_a_ledger_nothing_is_created(
    cluster: kmock.KubernetesEmulator,
    operator: Callable[..., GpuPodOperator],
    context: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(ClusterUnreachableError, match="nothing was created: ledger postgresql") as caught:
        await asyncio.to_thread(operator().execute, _with_dag(context("train")))
    assert caught.value.failure.kind == "ledger" and len(cluster) == 0


async def test_a_cleared_task_first_sees_the_end_of_the_pod_from_before(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await _launch(operator(), context("train", max_tries=0))
    await cluster.patch(f"/api/v1/namespaces/default/pods/{first.name}", json={"status": {"phase": "Running"}})
    again = context("train", try_number=2, max_tries=1)
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator().execute, _with_dag(again))
    trigger, method = deferred.value.trigger, deferred.value.method_name
    assert isinstance(trigger, PodGoneTrigger) and (trigger.name, method) == (first.name, "relaunch")
    assert _pods(cluster) == {}, "told to end, and nothing new beside it"
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator().relaunch, _with_dag(again), {"why": "gone", "name": first.name})
    assert list(_pods(cluster)) == [deferred.value.trigger.name] != [first.name]


async def test_a_pod_from_before_on_a_lost_node_is_given_up(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    first = await _launch(operator(), context("train", max_tries=0))
    stuck = {
        "status": {"phase": "Running"},
        "metadata": {"deletionTimestamp": "2026-11-24T10:00:00Z", "finalizers": ["x/y"]},
    }
    await cluster.patch(f"/api/v1/namespaces/default/pods/{first.name}", json=stuck)
    again = _with_dag(context("train", try_number=2, max_tries=1))
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(operator().relaunch, again, {"why": "late", "name": first.name})
    assert deferred.value.trigger.name in _pods(cluster)


# Bad input, refusals


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (403, "exceeded quota: gpus, requested: requests.nvidia.com/gpu=8", PodUnschedulableError),
        (403, 'violates PodSecurity "restricted:latest"', PodRefusedError),
        (404, 'namespaces "default" not found', PodConfigError),
        (500, "etcdserver: request timed out", ClusterUnreachableError),
    ],
)
async def test_a_refusal_has_a_type(
    cluster: kmock.KubernetesEmulator,
    operator: Callable[..., GpuPodOperator],
    context: Context,
    status: int,
    message: str,
    kind: type[Exception],
) -> None:
    cluster[kmock.action.CREATE] << status << {"kind": "Status", "message": message}
    with pytest.raises(kind, match=r"exceeded|violates|not found|etcd"):
        await asyncio.to_thread(operator().execute, _with_dag(context("train")))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"automount_service_account_token": True}, "service_account_token=True"),
        ({"hostnetwork": True}, "host_network"),
        ({"image": "repo/train:latest", "require_digest": True}, "image = 'repo/train:latest'"),
    ],
)
async def test_what_is_too_much_is_refused_before_anything_is_created(
    cluster: kmock.KubernetesEmulator,
    operator: Callable[..., GpuPodOperator],
    context: Context,
    arguments: dict[str, Any],
    named: str,
) -> None:
    with pytest.raises(AirflowFailException, match=named):
        await asyncio.to_thread(operator(**arguments).execute, _with_dag(context("train")))
    assert len(cluster) == 0


def test_a_relaxation_is_said_by_name() -> None:
    job = GpuPodOperator(
        task_id="t", image=DIGEST, automount_service_account_token=True, relax=Relaxations(service_account_token=True)
    )
    assert job.build_pod_request_obj(dry_run=True).spec.automount_service_account_token is True


def test_what_is_not_served_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="logging_interval = 5: GpuPodOperator does not serve it"):
        GpuPodOperator(task_id="t", image=DIGEST, logging_interval=5)


def test_an_impossible_gpu_request_is_refused_when_the_dag_is_read() -> None:
    with pytest.raises(InvalidInputError, match="mig_profile = 'big'"):
        GpuPodOperator(task_id="t", image=DIGEST, mig_profile="big")
