"""Over a Kubernetes API in memory, and over real local pods."""

import asyncio
from typing import Any

import kmock
import pytest
from kubernetes import client as k8s

from bulkhead.collector import Collected, Collector
from bulkhead.ledger.launches import Launches
from bulkhead.ledger.ledger import Ledger
from bulkhead.pods.identity import TaskIdentity
from bulkhead.pods.spec import PodRequest, build
from bulkhead.runtimes.kubernetes.access import Access, client
from bulkhead.runtimes.local.runtime import LocalRuntime
from bulkhead.runtimes.local.tasks import LOCAL_ROOT
from tests.fixtures.kubernetes import PODS, pod

TASK = TaskIdentity("release", "run", "train")


@pytest.fixture
def launches(sqlite_url: str) -> Launches:
    return Ledger(sqlite_url).launches


@pytest.fixture
def access(kubeconfig: str) -> dict[str, Any]:
    return vars(Access(config_file=kubeconfig))


def _launch(launches: Launches, access: dict[str, Any], name: str, keep: str = "never") -> None:
    known = {"dag_id": "release", "run_id": "run", "task_id": "train", "map_index": -1}
    launches.record(access, "default", name, owner=TASK.owner, instance=TASK.instance, task=known, keep=keep)


def _there(cluster: kmock.KubernetesEmulator, name: str, phase: str = "Running", **metadata: Any) -> None:
    there = pod(name, phase)
    there["metadata"] |= {"labels": {"bulkhead.dev/managed": "true", **TASK.labels()}, "uid": "u", **metadata}
    cluster.objects[PODS, "default", name] = there


def _names(cluster: kmock.KubernetesEmulator) -> list[str]:
    return [name for (_, _, name), one in cluster.objects.items() if not one.deleted]


async def _collect(launches: Launches) -> list[tuple[str, bool, str]]:
    collector = Collector(launches, lambda access: client(access, {}))
    found = await asyncio.to_thread(collector.collect)
    return [(one.pod, one.done, one.what) for one in found]


async def test_a_pod_that_nobody_waits_for_is_ended_and_seen_to_be_gone(
    cluster: kmock.KubernetesEmulator, launches: Launches, access: dict[str, Any]
) -> None:
    _there(cluster, "train-1")
    _launch(launches, access, "train-1")
    assert await _collect(launches) == [], "its task waits for it"
    launches.end_run(TASK.owner, "the run is over")
    assert await _collect(launches) == [("default/train-1", False, "told to end")]
    assert _names(cluster) == []
    assert await _collect(launches) == [("default/train-1", True, "gone")]
    assert await _collect(launches) == []


@pytest.mark.parametrize(
    ("phase", "keep", "left"),
    [
        ("Failed", "never", 0),
        ("Failed", "failed", 1),
        ("Succeeded", "failed", 0),
        ("Succeeded", "always", 1),
        ("Running", "always", 0),
        ("Pending", "failed", 0),
    ],
)
async def test_what_its_author_keeps_is_kept_unless_it_runs(
    cluster: kmock.KubernetesEmulator,
    launches: Launches,
    access: dict[str, Any],
    phase: str,
    keep: str,
    left: int,
) -> None:
    _there(cluster, "train-1", phase)
    _launch(launches, access, "train-1", keep)
    launches.end_run(TASK.owner, "the run is over")
    ((_, done, what),) = await _collect(launches)
    assert (done, len(_names(cluster))) == (bool(left), left)
    assert what.startswith("kept") is bool(left)


async def test_a_pod_of_the_same_name_that_is_not_ours_is_left_alone(
    cluster: kmock.KubernetesEmulator, launches: Launches, access: dict[str, Any]
) -> None:
    _there(cluster, "train-1", labels={"bulkhead.dev/managed": "true"})
    _launch(launches, access, "train-1")
    launches.end_run(TASK.owner, "the run is over")
    assert await _collect(launches) == [("default/train-1", True, "not ours: left alone")]
    assert _names(cluster) == ["train-1"]


async def test_one_that_is_ending_is_waited_for_and_not_told_again(
    cluster: kmock.KubernetesEmulator, launches: Launches, access: dict[str, Any]
) -> None:
    _there(cluster, "train-1", deletionTimestamp="2026-11-25T10:00:00Z", finalizers=["x/y"])
    _launch(launches, access, "train-1")
    launches.end_run(TASK.owner, "the run is over")
    assert await _collect(launches) == [("default/train-1", False, "terminating")]
    assert [request.method.value for request in cluster] == ["GET"]


async def test_one_that_cannot_be_reached_does_not_keep_the_others_waiting(
    cluster: kmock.KubernetesEmulator, launches: Launches, access: dict[str, Any]
) -> None:
    _launch(launches, {**access, "config_file": "/no/such/file"}, "lost")
    _there(cluster, "train-1")
    _launch(launches, access, "train-1")
    cluster["get /api/v1/namespaces/default/pods/train-1"][:1] << 403 << {"message": "leader changed"}
    launches.end_run(TASK.owner, "the run is over")
    (lost, first) = await _collect(launches)
    assert not lost[1] and "name a kubeconfig" in lost[2]
    assert not first[1] and "leader changed" in first[2]
    assert (await _collect(launches))[1] == ("default/train-1", False, "told to end")


async def test_what_was_launched_from_elsewhere_is_named_and_left_alone(
    cluster: kmock.KubernetesEmulator, launches: Launches, access: dict[str, Any]
) -> None:
    _there(cluster, "train-1")
    _there(cluster, "theirs-1")
    _launch(launches, access, "train-1")
    collector = Collector(launches, lambda access: client(access, {}))
    assert await asyncio.to_thread(collector.orphans) == ["default/theirs-1"]
    assert _names(cluster) == ["train-1", "theirs-1"]


def test_a_local_pod_is_ended_and_keeps_its_record(launches: Launches, runtime: LocalRuntime) -> None:
    command = ["python", "-c", "import time; time.sleep(60)"]
    runtime.launch(build(PodRequest(name="train-1", image="none", command=command, labels=TASK.labels())))
    _launch(launches, {LOCAL_ROOT: str(runtime.layout.root)}, "train-1")
    launches.end_instance(TASK.instance, "its task was marked")

    def refuse(access: Access) -> k8s.ApiClient:
        raise AssertionError("no cluster is asked")

    assert Collector(launches, refuse).collect() == [
        Collected("default/train-1", True, "told to end", "its task was marked")
    ]
    assert runtime.status("train-1").message == "its task was marked"
    assert Collector(launches, refuse).collect() == []


async def test_a_launch_that_cannot_be_read_keeps_no_other_pod(
    cluster: kmock.KubernetesEmulator, launches: Launches, access: dict[str, Any]
) -> None:
    _there(cluster, "train-1")
    launches.record(access, "default", "odd", owner=TASK.owner, instance="odd", task={"dag": "of another version"})
    _launch(launches, access, "train-1")
    launches.end_run(TASK.owner, "the run is over: \x00")
    odd, train = await _collect(launches)
    assert odd[:2] == ("default/odd", False) and "TypeError" in odd[2]
    assert train == ("default/train-1", False, "told to end")
