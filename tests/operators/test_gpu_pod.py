"""The operator over a Kubernetes API in memory; ``tests/cluster`` is where a real one comes in."""

import asyncio
from collections.abc import Callable
from typing import Any

import kmock
import pytest
from airflow.sdk.exceptions import (
    AirflowSkipException,
)
from kubernetes import client as k8s

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.ledger.fleet import NodeStand
from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.identity import identity
from bulkhead.pods.exceptions import (
    ApplicationFailedError,
    HostOutOfMemoryError,
    NodeLostError,
    PodConfigError,
    PodPreemptedError,
    PodUnschedulableError,
)
from bulkhead.pods.outcome import FailureClass, Outcome
from bulkhead.pods.policy import Record
from tests.fixtures.gpu_pod import DIGEST, ended, event, launch, pods_of, resume, with_dag

Context = Callable[..., Any]


# One pod's life


async def test_a_pods_life_costs_two_requests_besides_the_watch(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    job, task = operator(), context("train")
    trigger = await launch(job, task)
    left = Outcome(result={"accuracy": 0.98}).encode()
    assert await resume(job, task, event(trigger, ended(0, left))) == {"accuracy": 0.98}
    assert [request.method.value for request in cluster] == ["POST", "DELETE"]
    assert pods_of(cluster) == {}


async def test_the_pod_is_named_labelled_hardened_and_asks_for_gpus(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    task = context("train")
    job = operator(gpus=4, gpu_product="NVIDIA-H100-80GB-HBM3", shared_memory="16Gi", kueue_queue="team-a")
    trigger = await launch(job, task)
    (made,) = pods_of(cluster).values()
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
    trigger = await launch(operator(do_xcom_push=push), context("train", xcoms=pushed))
    assert pushed == ({"pod_name": trigger.name, "pod_namespace": "default"} if push else {})


async def test_the_authors_name_begins_the_pods(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    task = context("train")
    trigger = await launch(operator(name="Nightly_Run"), task)
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
    with pytest.raises(InvalidInputError, match="privileged"):
        GpuPodOperator(task_id="t", image=DIGEST, container_security_context={"privileged": True})
    template = {"spec": {"containers": [{"name": "base", "securityContext": {"privileged": True}}]}}
    with pytest.raises(InvalidInputError, match="privileged"):
        GpuPodOperator(task_id="t", image=DIGEST, pod_template_dict=template).build_pod_request_obj(dry_run=True)


async def test_the_log_is_read_once_at_the_end(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, capsys: Any
) -> None:
    job, task = operator(get_logs=True), context("train")
    trigger = await launch(job, task)
    cluster[f"get /api/v1/namespaces/default/pods/{trigger.name}/log"] << b"epoch 1\n"
    await resume(job, task, event(trigger, ended(0)))
    assert "epoch 1" in capsys.readouterr().out
    assert len(cluster) == 3


async def test_what_was_followed_to_its_end_is_not_read_again(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, capsys: Any
) -> None:
    job, task = operator(get_logs=True), context("train")
    trigger = await launch(job, task)
    assert trigger.stream_logs
    position = {"second": 1_790_000_000, "seen": 1, "before": 0}
    message = {**event(trigger, ended(0)), "logs": {"base": {"complete": True, "position": position}}}
    await resume(job, task, message)
    assert [request.method.value for request in cluster] == ["POST", "DELETE"]


async def test_what_was_followed_half_way_is_read_from_there(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, capsys: Any
) -> None:
    job, task = operator(get_logs=True), context("train")
    trigger = await launch(job, task)
    position = {"second": 1_790_000_000, "seen": 1, "before": 0}
    message = {**event(trigger, ended(0)), "logs": {"base": {"complete": False, "position": position}}}
    log = b"2026-09-21T14:13:20.1Z epoch 1\n2026-09-21T14:13:20.2Z epoch 2\n"
    cluster[f"get /api/v1/namespaces/default/pods/{trigger.name}/log"] << log
    await resume(job, task, message)
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
    trigger = await launch(job, task)
    with pytest.raises(HostOutOfMemoryError):
        await resume(job, task, event(trigger, ended(137, reason="OOMKilled")))
    assert len(pods_of(cluster)) == kept


# How it ends


@pytest.mark.parametrize(
    ("status", "why", "kind"),
    [
        (ended(137, reason="OOMKilled"), "ended", HostOutOfMemoryError),
        (
            ended(143, conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]),
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
    trigger = await launch(job, task)
    with pytest.raises(kind) as caught:
        await resume(job, task, event(trigger, status, why))
    if status is not None:
        assert caught.value.node == "gpu-7"


async def test_what_a_failed_pod_had_found_is_not_lost(
    operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    pushed: dict[str, Any] = {}
    job, task = operator(), context("train", xcoms=pushed)
    trigger = await launch(job, task)
    with pytest.raises(ApplicationFailedError):
        await resume(job, task, event(trigger, ended(1, Outcome(result={"epochs": 3}).encode())))
    assert pushed["return_value"] == {"epochs": 3}


async def test_an_exit_code_may_mean_to_skip(operator: Callable[..., GpuPodOperator], context: Context) -> None:
    job, task = operator(skip_on_exit_code=99), context("train")
    trigger = await launch(job, task)
    with pytest.raises(AirflowSkipException, match="exit code 99"):
        await resume(job, task, event(trigger, ended(99)))


async def test_the_next_try_stays_away_from_the_node_and_has_more_memory(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    limits = k8s.V1ResourceRequirements(limits={"memory": "2Gi"}, requests={"memory": "2Gi"})
    job, task = operator(container_resources=limits), context("train", retries=3)
    history = [
        Record(FailureClass.DEVICE_FAULT, "ecc", "gpu-7", "s3://c/9"),
        Record(FailureClass.HOST_OOM, "", "gpu-8"),
    ]
    key = f"bulkhead.failures.{identity(task).clear_number}"
    task["task_state_store"].set(key, [record.dump() for record in history])
    await launch(job, task)
    (made,) = pods_of(cluster).values()
    terms = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchFields"] == [_not_in("gpu-7")]
    assert made["spec"]["containers"][0]["resources"]["limits"]["memory"] == str(3 * 2**30)
    assert {"name": "BULKHEAD_RESUME_FROM", "value": "s3://c/9"} in made["spec"]["containers"][0]["env"]


async def test_what_one_dag_suspects_is_a_preference_for_others_and_two_forbid_it(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, control: Control
) -> None:
    control.ledger.fleet.remember({}, [NodeStand(f"gpu-{number}", "H100", "a") for number in range(4)])
    affinities = []
    for owner in ("theirs", "others"):
        control.ledger.suspicions.add(node="gpu-3", owner=owner, cause="device_fault/ecc", reason="xid 48", key=owner)
        await launch(operator(), context(f"train-{owner}"))
        affinities.append(list(pods_of(cluster).values())[-1]["spec"]["affinity"]["nodeAffinity"])
    alone, together = affinities
    preferred = alone["preferredDuringSchedulingIgnoredDuringExecution"]
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in alone
    assert [one["preference"]["matchFields"] for one in preferred] == [[_not_in("gpu-3")]]
    required = together["requiredDuringSchedulingIgnoredDuringExecution"]
    assert "preferredDuringSchedulingIgnoredDuringExecution" not in together
    assert required["nodeSelectorTerms"][0]["matchFields"] == [_not_in("gpu-3")]


def _not_in(node: str) -> dict[str, Any]:
    return {"key": "metadata.name", "operator": "NotIn", "values": [node]}


@pytest.mark.parametrize("status", [201, 409])
async def test_devices_of_a_class_are_claimed_by_a_template_that_is_there_once(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context, status: int
) -> None:
    templates = "post /apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates"
    cluster[templates] << status << {"metadata": {}, "spec": {"spec": {}}}
    await launch(operator(gpus=2, device_class="gpu.nvidia.com"), context("train"))
    (made,) = [one for one in pods_of(cluster).values() if "containers" in one["spec"]]
    assert made["spec"]["resourceClaims"][0]["resourceClaimTemplateName"].startswith("bulkhead-gpu.nvidia.com-")
    assert "limits" not in made["spec"]["containers"][0]["resources"]


async def test_a_cluster_without_resource_claims_is_named(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    templates = "post /apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates"
    cluster[templates] << 404 << b"404 page not found"
    with pytest.raises(PodConfigError, match="leave device_class out"):
        await asyncio.to_thread(operator(device_class="c").execute, with_dag(context("train")))
