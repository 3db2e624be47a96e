"""One operator, two runtimes: where its pods run is the connection's matter."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import kmock
import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.operators.identity import identity
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.runtimes import OnKubernetes, OnThisMachine, runtime_at
from bulkhead.operators.triggers.kubernetes_gang import KubernetesGangTrigger
from bulkhead.operators.triggers.kubernetes_pod import KubernetesPodTrigger, PodGoneTrigger
from bulkhead.operators.triggers.local_pod import LocalPodTrigger
from bulkhead.pods.outcome import Outcome
from tests.fixtures.gpu_pod import DIGEST, ended, event, pods_of
from tests.waiting import until

Context = Callable[..., Any]
SLEEP = ["python", "-c", "import time; time.sleep(60)"]
JOBSETS = kmock.resource("jobset.x-k8s.io/v1alpha2/jobsets")


def _deferred(operator: PodOperator, context: Any, method: str = "execute", *more: Any) -> Any:
    with pytest.raises(TaskDeferred) as deferred:
        getattr(operator, method)(context, *more)
    return deferred.value


async def _launch(operator: PodOperator, context: Any) -> Any:
    return (await asyncio.to_thread(_deferred, operator, context)).trigger


# Which runtime


def test_without_a_word_it_is_the_local_one(control: Control) -> None:
    assert isinstance(runtime_at(None), OnThisMachine)


def test_a_connection_says(control: Control, cluster_connection: str) -> None:
    runtime = runtime_at(cluster_connection)
    assert isinstance(runtime, OnKubernetes)
    assert (runtime.namespace(None), runtime.namespace("own")) == ("team", "own")
    assert runtime.access["kubernetes_conn_id"] == cluster_connection
    assert isinstance(runtime_at("bulkhead_local_default"), OnThisMachine)


def test_the_configuration_has_the_default(
    control: Control, cluster_connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__BULKHEAD__RUNTIME_CONN_ID", cluster_connection)
    assert isinstance(runtime_at(None), OnKubernetes)
    assert isinstance(runtime_at("bulkhead_local_default"), OnThisMachine)


def test_a_connection_that_is_not_there_or_leads_elsewhere_is_refused_without_a_retry(
    control: Control, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_PAGER", json.dumps({"conn_type": "http"}))
    with pytest.raises(InvalidInputError, match=r"runtime_conn_id = 'nowhere': no such connection; make it \(Admin"):
        runtime_at("nowhere")
    operator = PodOperator(task_id="train", command=SLEEP, runtime_conn_id="pager")
    with pytest.raises(AirflowFailException, match="runtime_conn_id = 'pager': it is of type 'http'; make it"):
        operator.execute(context("train"))


# The same operator on both


@pytest.mark.parametrize("where", ["cluster", "bulkhead_local_default"])
async def test_the_same_task_has_the_same_result(
    control: Control, context: Context, cluster: kmock.KubernetesEmulator, cluster_connection: str, where: str
) -> None:
    left = Outcome(result={"answer": 42}).encode()
    code = f"import os; open(os.environ['BULKHEAD_TERMINATION_LOG'], 'w').write({left!r})"
    operator = PodOperator(
        task_id="train", image=DIGEST, command=["python", "-c", code], gpus=1, stream_logs=False, runtime_conn_id=where
    )
    operator.get_logs = False
    task = context("train")
    trigger = await _launch(operator, task)
    if isinstance(trigger, KubernetesPodTrigger):
        told = {**event(trigger, ended(0, left)), "namespace": "team"}
    else:
        (told,) = [one.payload async for one in trigger.run()]
    assert await asyncio.to_thread(operator.resume, task, told) == {"answer": 42}
    assert control.ledger.launches.active() == control.ledger.launches.ended() == []


async def test_a_pod_of_a_cluster_is_placed_hardened_named_and_has_its_secrets_by_reference(
    control: Control,
    context: Context,
    cluster: kmock.KubernetesEmulator,
    cluster_connection: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__BULKHEAD__MLFLOW_SECRET", "tracking")
    task = context("train")
    operator = PodOperator(
        task_id="train",
        image=DIGEST,
        command=["python", "train.py"],
        gpus=2,
        gpu_product="NVIDIA-H100-80GB-HBM3",
        cpu="8",
        memory="64Gi",
        shared_memory="16Gi",
        secrets={"TOKEN": "hub/token"},
        claims={"/data": "team-data"},
        kueue_queue="team-a",
        user_id=1000,
        service_account="trainer",
        image_pull_secrets=["registry"],
        runtime_conn_id=cluster_connection,
    )
    trigger = await _launch(operator, task)
    assert (trigger.name, trigger.namespace) == (identity(task).pod_name(1), "team")
    (pod,) = pods_of(cluster).values()
    assert identity(task).labels().items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "2"}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/data", "/dev/shm", "/tmp"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 1000)
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("trainer", False)
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    secrets = {
        one["name"]: (one["valueFrom"]["secretKeyRef"]["name"], one["valueFrom"]["secretKeyRef"]["key"])
        for one in container["env"]
        if "valueFrom" in one
    }
    assert secrets == {
        "TOKEN": ("hub", "token"),
        "MLFLOW_TRACKING_USERNAME": ("tracking", "username"),
        "MLFLOW_TRACKING_PASSWORD": ("tracking", "password"),
    }


def test_the_authors_variables_take_the_place_of_ours_wherever_they_are_from(
    control: Control, context: Context, cluster_connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__BULKHEAD__MLFLOW_SECRET", "tracking")

    def variables(**more: Any) -> dict[str, Any]:
        operator = PodOperator(task_id="train", image=DIGEST, command=SLEEP, runtime_conn_id=cluster_connection, **more)
        pod = operator.pod_of(context("train"), operator.runtime())
        return {one.name: one.value or one.value_from.secret_key_ref.name for one in pod.spec.containers[0].env}

    plain = variables(env={"MLFLOW_TRACKING_USERNAME": "ada"})
    assert (plain["MLFLOW_TRACKING_USERNAME"], plain["MLFLOW_TRACKING_PASSWORD"]) == ("ada", "tracking")
    assert variables(secrets={"MLFLOW_TRACKING_URI": "team/uri"})["MLFLOW_TRACKING_URI"] == "team"
    with pytest.raises(InvalidInputError, match=r"pod.env = \['TOKEN'\]: give each variable once"):
        variables(env={"TOKEN": "t"}, secrets={"TOKEN": "hub/token"})


async def test_a_cleared_task_on_a_cluster_waits_for_the_end_of_its_earlier_pod(
    control: Control, context: Context, cluster: kmock.KubernetesEmulator, cluster_connection: str
) -> None:
    operator = PodOperator(task_id="train", image=DIGEST, command=SLEEP, runtime_conn_id=cluster_connection)
    first = await _launch(operator, context("train"))
    await cluster.patch(f"/api/v1/namespaces/team/pods/{first.name}", json={"status": {"phase": "Running"}})
    again = context("train", try_number=2, max_tries=1)
    waiting = await asyncio.to_thread(_deferred, operator, again)
    assert isinstance(waiting.trigger, PodGoneTrigger) and waiting.method_name == "relaunch"
    gone = {"why": "gone", "name": first.name}
    second = await asyncio.to_thread(_deferred, operator, again, "relaunch", gone)
    assert second.trigger.name != first.name and list(pods_of(cluster)) == [second.trigger.name]


async def test_a_task_that_moved_to_a_cluster_ends_its_pod_here_first(
    control: Control, context: Context, cluster: kmock.KubernetesEmulator, cluster_connection: str
) -> None:
    here = PodOperator(task_id="train", command=SLEEP, gpus=0)
    first = await _launch(here, context("train"))
    assert isinstance(first, LocalPodTrigger)
    there = PodOperator(task_id="train", image=DIGEST, command=SLEEP, gpus=0, runtime_conn_id=cluster_connection)
    second = await _launch(there, context("train", try_number=2, max_tries=1))
    assert isinstance(second, KubernetesPodTrigger)
    assert control.runtime.status(first.name).ended


async def test_several_nodes_are_one_job(
    control: Control, context: Context, cluster: kmock.KubernetesEmulator, cluster_connection: str
) -> None:
    cluster.resources[JOBSETS] = kmock.ResourceInfo(kind="JobSet", namespaced=True, verbs={"create"})
    size = {"nodes": 4, "gpus": 8, "backend": "jobset"}
    operator = PodOperator(
        task_id="train", image=DIGEST, command=["train.py"], runtime_conn_id=cluster_connection, **size
    )
    trigger = await _launch(operator, context("train"))
    assert isinstance(trigger, KubernetesGangTrigger) and (trigger.nodes, trigger.kind) == (4, "JobSet")
    (launch,) = control.ledger.launches.active()
    assert (launch.kind, launch.pod, launch.namespace) == ("JobSet", trigger.name, "team")
    (made,) = cluster.objects.values()
    job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
    command = job["template"]["spec"]["containers"][0]["command"]
    assert (command[0], command[-1], job["completions"]) == ("torchrun", "train.py", 4)


async def test_killing_the_task_deletes_its_pod(
    control: Control, context: Context, cluster: kmock.KubernetesEmulator, cluster_connection: str
) -> None:
    operator = PodOperator(task_id="train", image=DIGEST, command=SLEEP, runtime_conn_id=cluster_connection)
    await _launch(operator, context("train"))
    await asyncio.to_thread(operator.on_kill)
    assert pods_of(cluster) == {}


# What a runtime cannot do


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("gpu_product", "NVIDIA-H100-80GB-HBM3"),
        ("gpu_memory_gib", 80),
        ("mig_profile", "1g.10gb"),
        ("device_class", "gpu.nvidia.com"),
        ("kueue_queue", "team-a"),
    ],
)
def test_the_local_runtime_refuses_by_name_what_it_cannot_do(
    control: Control, context: Context, argument: str, value: Any
) -> None:
    operator = PodOperator(task_id="train", command=SLEEP, **{"gpus": 1, argument: value})
    with pytest.raises(AirflowFailException, match=rf"Refused, and nothing was changed: {argument} = .*leave it out"):
        operator.execute(context("train"))
    assert list(control.runtime.list({})) == []


def test_a_cluster_makes_no_claims_for_checkpoints(control: Control, context: Context, cluster_connection: str) -> None:
    operator = PodOperator(
        task_id="train", image=DIGEST, command=SLEEP, checkpoint="/checkpoints", runtime_conn_id=cluster_connection
    )
    with pytest.raises(AirflowFailException, match=r"checkpoint = '/checkpoints': mount a volume .*\(claims\)"):
        operator.execute(context("train"))


def test_the_logs_end_is_shown_of_what_ran_here(
    control: Control, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    operator, task = PodOperator(task_id="train", command=["echo", "epoch 1"], gpus=0), context("train")
    try:
        operator.execute(task)
    except TaskDeferred as deferred:
        name = deferred.trigger.name
        until(lambda: control.runtime.status(name).ended, "the pod to end")
        told = {"name": name, "namespace": "default", "why": "ended", "pod": control.runtime.document(name), "text": ""}
        operator.resume(task, told)
    assert "epoch 1" in capsys.readouterr().out
