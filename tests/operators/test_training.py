"""Where a training keeps its checkpoints, by what operators ask of their pods."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import kmock
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from kubernetes import client as k8s

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.operators import training
from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.pod import PodOperator
from bulkhead.pods.distributed import Gang
from bulkhead.pods.identity import TaskIdentity
from bulkhead.pods.training import CHECKPOINTS_VARIABLE, PROGRESS_VARIABLE
from tests.fixtures.gpu_pod import launch, pods_of, with_dag

Context = Callable[..., Any]
VOLUME = k8s.V1Volume(name="data", persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(claim_name="data"))
EMPTY = k8s.V1Volume(name="data", empty_dir=k8s.V1EmptyDirVolumeSource())
MOUNT = k8s.V1VolumeMount(name="data", mount_path="/data")


def _folder(operator: PodOperator, context: Any, try_number: int = 1) -> str:
    pod = f"train-{try_number}"
    return operator._request(pod, context, operator.runtime()).env[CHECKPOINTS_VARIABLE]


def _gpu_pod(**more: Any) -> GpuPodOperator:
    return GpuPodOperator(task_id="train", image="i", cmds=["true"], name="train", namespace="default", **more)


def test_every_try_has_the_same_folder_also_after_a_clear(control: Control, context: Context) -> None:
    operator = PodOperator(task_id="train", command=["true"], checkpoint="/checkpoints/")
    tries = [context("train"), context("train", try_number=2), context("train", try_number=3, max_tries=2)]
    [folder] = {_folder(operator, attempt) for attempt in tries}
    assert folder.startswith("/checkpoints/release/run/train-")
    assert operator._request("train-1", tries[0], operator.runtime()).env[PROGRESS_VARIABLE] == f"{folder}/progress"


def test_without_resume_each_try_has_one_of_its_own(control: Control, context: Context) -> None:
    operator = PodOperator(task_id="train", command=["true"], checkpoint="/checkpoints", resume="never")
    folders = {_folder(operator, context("train", try_number=number), number) for number in (1, 2)}
    assert len(folders) == 2


def test_other_runs_tasks_and_indices_have_other_folders() -> None:
    others = [
        TaskIdentity("dag", "run", "task"),
        TaskIdentity("dag", "run 2", "task"),
        TaskIdentity("dag", "run-2", "task"),
        TaskIdentity("dag", "run", "task", 1),
        TaskIdentity("dag", "../../run", "task"),
    ]
    assert len({other.folder for other in others}) == len(others)
    assert all(".." not in other.folder and len(other.folder.split("/")) == 3 for other in others)


def test_the_local_runtime_mounts_a_claim_where_none_is_named(control: Control, context: Context) -> None:
    operator = PodOperator(task_id="train", command=["true"], checkpoint="/checkpoints")
    assert operator._request("train-1", context("train"), operator.runtime()).claims == {"/checkpoints": "checkpoints"}
    named = PodOperator(task_id="train", command=["true"], checkpoint="/data/own", claims={"/data": "team"})
    assert named._request("train-1", context("train"), named.runtime()).claims == {"/data": "team"}


def test_without_checkpoints_nothing_is_told(control: Control, context: Context) -> None:
    operator = PodOperator(task_id="train", command=["true"])
    request = operator._request("train-1", context("train"), operator.runtime())
    assert request.claims == {} and not {CHECKPOINTS_VARIABLE, PROGRESS_VARIABLE} & set(request.env)


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(("path", "claims"), [("here", None), ("/elsewhere", {"/data": "team"})])
def test_a_folder_that_would_not_stay_fails_at_once(
    control: Control, context: Context, nodes: int, path: str, claims: dict[str, str] | None
) -> None:
    size = {"nodes": nodes, "gpus": 0}
    asked = PodOperator(task_id="train", command=["true"], checkpoint="{{ params.place }}", claims=claims, **size)
    asked.checkpoint = path  # as its template is rendered
    with pytest.raises(AirflowFailException, match=f"checkpoint = '{path}'"):
        asked.execute(context("train"))
    assert list(control.runtime.list({})) == []


@pytest.mark.parametrize(
    ("volume", "path", "stays"),
    [(VOLUME, "/data", True), (VOLUME, "/data/own", True), (VOLUME, "/database", False), (EMPTY, "/data", False)],
)
def test_what_ends_with_the_pod_is_no_place_for_checkpoints(volume: k8s.V1Volume, path: str, stays: bool) -> None:
    container = k8s.V1Container(name="base", volume_mounts=[MOUNT])
    mounts = training.mounts(k8s.V1Pod(spec=k8s.V1PodSpec(containers=[container], volumes=[volume])))
    if stays:
        training.check_kept(path, mounts)
        return
    with pytest.raises(InvalidInputError, match=r"checkpoint = .*mount a volume that outlives the pod there"):
        training.check_kept(path, mounts)


def test_behind_a_url_nothing_is_mounted_and_progress_stays_in_the_pod(control: Control, context: Context) -> None:
    operator = PodOperator(task_id="train", command=["true"], checkpoint="s3://team/checkpoints/")
    request = operator._request("train-1", context("train"), operator.runtime())
    assert request.claims == {}
    assert request.env[CHECKPOINTS_VARIABLE].startswith("s3://team/checkpoints/release/run/train-")
    assert request.env[PROGRESS_VARIABLE] == "/tmp/bulkhead-progress"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///checkpoints", "give the path itself"),
        ("memory://checkpoints", "give the path itself"),
        ("ftp://me:secret@host/checkpoints", "'ftp://me:***@…': leave the password out"),
    ],
)
def test_a_url_that_would_not_stay_or_tells_a_password_fails_at_once(
    control: Control, context: Context, url: str, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(message)):
        PodOperator(task_id="train", command=["true"], checkpoint=url)
    asked = PodOperator(task_id="train", command=["true"], checkpoint="{{ params.place }}")
    asked.checkpoint = url  # as its template is rendered
    with pytest.raises(AirflowFailException) as refused:
        asked.execute(context("train"))
    assert message in str(refused.value) and "secret@" not in str(refused.value)
    assert list(control.runtime.list({})) == []


def test_a_containers_name_before_the_host_is_no_password() -> None:
    message = training.environment(
        "abfs://data@account.dfs.core.windows.net/c", "auto", TaskIdentity("d", "r", "t"), "pod"
    )
    assert message[CHECKPOINTS_VARIABLE].startswith("abfs://data@account.dfs.core.windows.net/c/d/r/t-")


async def test_a_gpu_pod_needs_no_volume_for_checkpoints_behind_a_url(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    await launch(operator(checkpoint="s3://team/checkpoints"), context("train"))
    [pod] = pods_of(cluster).values()
    message = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
    assert message[CHECKPOINTS_VARIABLE].startswith("s3://team/checkpoints/release/run/train-")
    mounted = [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]]
    assert any(message[PROGRESS_VARIABLE].startswith(f"{path}/") for path in mounted)


async def test_a_gpu_pod_is_told_too(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    job = operator(checkpoint="/data", volumes=[VOLUME], volume_mounts=[MOUNT])
    await launch(job, context("train"))
    [pod] = pods_of(cluster).values()
    message = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
    assert message[CHECKPOINTS_VARIABLE].startswith("/data/release/run/train-")
    assert {"checkpoint", "arguments"} <= set(job.template_fields)


async def test_a_gpu_pod_without_a_volume_for_its_checkpoints_is_not_created(
    cluster: kmock.KubernetesEmulator, operator: Callable[..., GpuPodOperator], context: Context
) -> None:
    with pytest.raises(AirflowFailException, match=r"checkpoint = '/data': mount a volume"):
        await asyncio.to_thread(operator(checkpoint="/data").execute, with_dag(context("train")))
    assert pods_of(cluster) == {}


def test_how_to_resume_is_checked_when_the_dag_is_read() -> None:
    for make in (
        lambda: PodOperator(task_id="t", command=["true"], resume="maybe"),
        lambda: _gpu_pod(resume="maybe"),
    ):
        with pytest.raises(InvalidInputError, match=r"resume = 'maybe': give 'auto'"):
            make()


def test_ranks_of_one_node_are_restarted_in_place_where_that_is_asked_for() -> None:
    local = PodOperator(task_id="t", command=["-m", "own"], nodes=1, processes_per_node=2, restarts=3)
    start = ["python", "-m", "bulkhead.gpu_tasks.launch", "--processes=2", "--restarts=3"]
    assert local.command == [*start, "-m", "own"]
    remote = GpuPodOperator(task_id="t", image="i", nodes=1, gpus=2, restarts=3, arguments=["-m", "own"])
    assert remote.cmds == start


def test_a_node_has_as_many_ranks_as_gpus_also_by_default_args() -> None:
    with DAG("train", default_args={"gpus": 4}):
        train = GpuPodOperator(task_id="t", image="i", nodes=1, restarts=1, arguments=["own.py"])
    assert (train.gang.processes, train.cmds[3]) == (4, "--processes=4")


def test_who_restarts_ranks_has_to_start_them() -> None:
    with pytest.raises(InvalidInputError, match=r"restarts = 1: leave cmds out"):
        GpuPodOperator(task_id="t", image="i", nodes=1, restarts=1, cmds=["own"])
    with pytest.raises(InvalidInputError, match=r"restarts = 1: leave torchrun=False out"):
        PodOperator(task_id="t", command=["own"], nodes=1, restarts=1, torchrun=False)


@pytest.mark.parametrize(("nodes", "restarts"), [(2, 1), (1, -1)])
def test_restarts_that_cannot_be_are_refused(nodes: int, restarts: int) -> None:
    with pytest.raises(InvalidInputError, match=f"restarts = {restarts}"):
        training.launcher(Gang(nodes, 1), restarts)
