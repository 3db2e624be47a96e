"""What a person is told of each kind of evidence: its class and kind are in test_failure.py."""

from typing import Any

import pytest

from bulkhead.pods import reasons
from bulkhead.pods.failure import classify
from bulkhead.pods.outcome import Failure, FailureClass
from tests.failed_pods import failed, unscheduled, waiting

C = FailureClass


def _told(failure: Failure | None) -> tuple[FailureClass, str, str, str]:
    assert failure is not None
    return failure.failure_class, failure.kind, failure.message, failure.evidence


def _named(kind: str, reason: str, message: str | None, status: str = "True") -> dict[str, Any]:
    condition = {"type": kind, "status": status, "reason": reason}
    return {"conditions": [condition if message is None else {**condition, "message": message}]}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (
            {"reason": "ErrImagePull", "message": "manifest unknown: v2"},
            (C.IMAGE, "not-found", "manifest unknown: v2", "ErrImagePull"),
        ),
        (
            {"reason": "CreateContainerError", "message": "device or resource busy"},
            (C.CONFIG, "runtime", "device or resource busy", "CreateContainerError"),
        ),
        (
            {"reason": "CreateContainerConfigError"},
            (C.CONFIG, "container", "container train: CreateContainerConfigError", "CreateContainerConfigError"),
        ),
        (
            {"reason": "InvalidImageName"},
            (C.IMAGE, "not-found", "container train: InvalidImageName", "InvalidImageName"),
        ),
        (
            {"reason": "InvalidImageName", "message": "couldn't parse Image:TAG"},
            (C.IMAGE, "not-found", "couldn't parse Image:TAG", "InvalidImageName"),
        ),
    ],
)
def test_a_container_that_waits_for_what_will_not_come(state: dict[str, str], expected: tuple[str, ...]) -> None:
    assert _told(reasons.waiting("train", state)) == expected


@pytest.mark.parametrize("state", [{}, {"reason": "PodInitializing"}, {"message": "manifest unknown"}])
def test_a_container_that_waits_for_its_turn(state: dict[str, str]) -> None:
    assert reasons.waiting("train", state) is None


def test_the_container_that_waits_is_named() -> None:
    assert _told(classify(waiting("CreateContainerConfigError")))[2] == "container main: CreateContainerConfigError"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("0/5 nodes are available: 5 Insufficient nvidia.com/gpu.", "gpu"),
        ('persistentvolumeclaim "data" not found', "volume"),
        ("0/5 nodes are available: 5 Insufficient cpu.", "room"),
        ("0/5 nodes are available: 5 node(s) had untolerated taint {a: b}.", "taint"),
        ("0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector.", "selector"),
        ("0/5 nodes are available: a reason of tomorrow's.", "unknown"),
    ],
)
def test_a_pod_that_no_node_takes(message: str, kind: str) -> None:
    status = unscheduled(message)["status"]
    assert _told(reasons.scheduling(status, [])) == (C.UNSCHEDULABLE, kind, message, "Unschedulable")


@pytest.mark.parametrize("message", [None, ""])
def test_a_scheduler_that_does_not_say_why(message: str | None) -> None:
    status = _named("PodScheduled", "Unschedulable", message, "False")
    expected = (C.UNSCHEDULABLE, "unknown", "no node takes the pod", "Unschedulable")
    assert _told(reasons.scheduling(status, [])) == expected
    for reason in ("TriggeredScaleUp", "Nominated", "WaitForFirstConsumer", "Provisioning", "ExternalProvisioning"):
        assert reasons.scheduling(status, [{}, {"reason": reason}]) is None
    assert reasons.scheduling(status, [{"reason": "NotTriggerScaleUp"}]) is not None


@pytest.mark.parametrize(
    ("reason", "message", "named", "kind"),
    [
        ("PreemptionByScheduler", "preempted by a pod", C.PREEMPTED, "scheduler"),
        ("DeletionByTaintManager", "deleted by a taint", C.EVICTED, "taint"),
        ("DeletionByTaintManager", "node.kubernetes.io/unreachable:NoExecute", C.NODE_LOST, "unreachable"),
        ("EvictionByEvictionAPI", "a drain", C.EVICTED, "drain"),
        ("EvictionByEvictionAPI", "imminent node shutdown", C.PREEMPTED, "node-shutdown"),
        ("EvictionByEvictionAPI", "low on resource: memory, and node shutdown", C.PREEMPTED, "node-shutdown"),
        ("TerminationByKubelet", "The node was low on resource: memory.", C.EVICTED, "memory"),
        ("TerminationByKubelet", "Pod was terminated in response to it.", C.PREEMPTED, "node-shutdown"),
        ("TomorrowsReason", "something else", C.PREEMPTED, "TomorrowsReason"),
    ],
)
def test_what_the_cluster_ended(reason: str, message: str, named: FailureClass, kind: str) -> None:
    assert _told(reasons.disruption(_named("DisruptionTarget", reason, message))) == (named, kind, message, reason)


@pytest.mark.parametrize("message", [None, ""])
@pytest.mark.parametrize(
    ("condition", "reason", "named", "kind"),
    [
        ("DisruptionTarget", "DeletionByPodGC", C.NODE_LOST, "garbage-collected"),
        ("TerminationTarget", "WorkloadEvictedDueToMaximumExecutionTimeExceeded", C.DEADLINE, "kueue"),
        ("TerminationTarget", "WorkloadEvictedDueToDeactivated", C.CANCELLED, "kueue"),
        ("TerminationTarget", "WorkloadEvictedDueToPreempted", C.PREEMPTED, "kueue"),
    ],
)
def test_what_the_cluster_ended_without_a_word(
    message: str | None, condition: str, reason: str, named: FailureClass, kind: str
) -> None:
    assert _told(reasons.disruption(_named(condition, reason, message))) == (named, kind, reason, reason)
    assert reasons.disruption(_named(condition, reason, message, "False")) is None


def test_what_kueue_says_of_it_is_kept() -> None:
    status = _named("TerminationTarget", "WorkloadEvictedDueToPreempted", "Preempted to fit another")
    assert _told(reasons.disruption(status))[2] == "Preempted to fit another"


def test_an_eviction_is_told_by_the_pods_own_message_too() -> None:
    status = {**_named("DisruptionTarget", "TerminationByKubelet", None), "message": "low on resource: pids"}
    assert _told(reasons.disruption(status)) == (C.EVICTED, "pids", "TerminationByKubelet", "TerminationByKubelet")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"reason": "Evicted", "message": "low on resource: memory"}, (C.EVICTED, "memory", "low on resource: memory")),
        ({"reason": "Evicted"}, (C.EVICTED, "unknown", "")),
        ({"reason": "OutOfnvidia.com/gpu"}, (C.UNSCHEDULABLE, "node-admission", "OutOfnvidia.com/gpu")),
        ({"reason": "OutOfcpu", "message": "no cpu"}, (C.UNSCHEDULABLE, "node-admission", "no cpu")),
        ({"reason": "NodeAffinity"}, (C.UNSCHEDULABLE, "node-admission", "NodeAffinity")),
        ({"reason": "NodeLost", "message": "gone"}, (C.NODE_LOST, "unreachable", "gone")),
        (
            {"reason": "Tomorrows", "message": "Pod was rejected: it is not"},
            (C.UNSCHEDULABLE, "node-admission", "Pod was rejected: it is not"),
        ),
    ],
)
def test_the_reason_of_a_pod(status: dict[str, str], expected: tuple[str, ...]) -> None:
    assert _told(reasons.pod_reason(status)) == (*expected, status["reason"])


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"reason": "Tomorrows", "message": "it is not"},
        {"message": "Pod was rejected: it is not"},
        {"reason": "Tomorrows", "message": "Pod was rejected", "containerStatuses": [{"name": "main"}]},
    ],
)
def test_a_reason_that_says_nothing(status: dict[str, Any]) -> None:
    assert reasons.pod_reason(status) is None


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (
            {"exitCode": 137, "reason": "OOMKilled"},
            (C.HOST_OOM, "", "container c was over its memory limit", "OOMKilled"),
        ),
        (
            {"exitCode": 137, "reason": "OOMKilled", "message": "the termination message"},
            (C.HOST_OOM, "", "container c was over its memory limit", "the termination message"),
        ),
        (
            {"exitCode": 255, "reason": "Unknown"},
            (
                C.NODE_LOST,
                "unknown-end",
                "container c: how it ended is not known: its node was lost or restarted",
                "Unknown",
            ),
        ),
        (
            {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "The container could not be located"},
            (C.NODE_LOST, "unknown-end", "The container could not be located", "ContainerStatusUnknown"),
        ),
        (
            {"exitCode": 128, "reason": "StartError"},
            (C.CONFIG, "bad-command", "container c could not be started", "StartError"),
        ),
        (
            {"exitCode": 128, "reason": "ContainerCannotRun", "message": "no such file"},
            (C.CONFIG, "bad-command", "no such file", "ContainerCannotRun"),
        ),
        (
            {"exitCode": 128, "reason": "StartError", "message": "device or resource busy"},
            (C.CONFIG, "runtime", "device or resource busy", "StartError"),
        ),
        (
            {"exitCode": 1, "reason": "Error", "message": "NVRM: Xid (PCI:0000:3b:00): 79, GPU has"},
            (C.DEVICE_FAULT, "xid-79", "container c ended with exit code 1", "NVRM: Xid (PCI:0000:3b:00): 79, GPU has"),
        ),
        ({"exitCode": 3, "reason": "Error"}, (C.APPLICATION, "", "container c: exit code 3", "Error")),
        ({"exitCode": 3}, (C.APPLICATION, "", "container c: exit code 3", "")),
        ({"exitCode": 3, "message": "why"}, (C.APPLICATION, "", "container c: exit code 3", "why")),
        ({"exitCode": 127}, (C.CONFIG, "bad-command", "container c: the command was not found", "")),
        ({"exitCode": 139}, (C.APPLICATION, "segfault", "container c: segmentation fault (SIGSEGV)", "")),
    ],
)
def test_the_end_of_a_container_that_reported_nothing(how: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert _told(reasons.exit_code("c", how)) == expected


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"message": "why", "reason": "Tomorrows"}, "why"),
        ({"reason": "Tomorrows"}, "Tomorrows"),
        ({}, "the pod failed and left no reason"),
        ({"message": "x" * 2000}, "x" * 1000),
    ],
)
def test_a_pod_that_failed_and_left_no_container(status: dict[str, str], message: str) -> None:
    assert _told(classify({"status": {"phase": "Failed", **status}})) == (C.APPLICATION, "unknown", message, "")


def test_long_texts_are_cut_where_least_is_lost() -> None:
    how = {"exitCode": 1, "reason": "ContainerStatusUnknown", "message": "a" * 1500}
    assert len(reasons.exit_code("c", how).message) == 1000
    words = "first " + "x" * 2000 + " last"
    found = reasons.exit_code("c", {"exitCode": 1, "message": words})
    assert len(found.evidence) == 1000 and found.evidence.endswith(" last")


@pytest.mark.parametrize("field", ["exception", "message", "evidence"])
def test_a_rank_that_lost_another_is_a_victim_wherever_it_says_so(field: str) -> None:
    lost = "Connection reset by peer"
    assert reasons.is_victim(Failure(failure_class=C.APPLICATION, **{field: lost}))
    assert not reasons.is_victim(Failure(failure_class=C.APPLICATION, **{field: "KeyError"}))
    assert not reasons.is_victim(Failure(failure_class=C.HUNG, **{field: lost}))


def test_a_pod_without_a_reason_of_its_own_is_told_by_its_container() -> None:
    assert _told(classify(failed("NodeLost")))[:3] == (C.NODE_LOST, "unreachable", "NodeLost")
