"""The name that each recorded failure must get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.pods.exceptions import TYPES, error
from bulkhead.pods.failure import classify
from bulkhead.pods.outcome import Failure, FailureClass, Outcome
from tests.failed_pods import CASES, Pod, disrupted, ended, unscheduled, waiting


def test_there_are_at_least_sixty() -> None:
    assert len(CASES) >= 60 and len({name for name, *_ in CASES}) == len(CASES)


@pytest.mark.parametrize(("pod", "named", "kind"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_recorded_failure_gets_its_name(pod: Pod, named: str, kind: str) -> None:
    failure = classify(pod)
    assert failure is not None
    assert failure.failure_class == named
    if kind or named in ("application", "host_oom", "gpu_oom"):
        assert failure.kind == kind
    assert failure.message


@pytest.mark.parametrize(
    "pod",
    [
        {"status": {"phase": "Succeeded"}},
        {"status": {"phase": "Running"}},
        {"status": {}},
        {},
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        unscheduled("", reason="SchedulingGated"),
    ],
)
def test_what_may_still_succeed_has_no_failure(pod: Pod) -> None:
    assert classify(pod) is None


def test_an_autoscaler_that_brings_a_node_is_waited_for() -> None:
    pod = unscheduled("0/5 nodes are available: 5 Insufficient nvidia.com/gpu.")
    assert classify(pod, [{"reason": "TriggeredScaleUp", "message": "pod triggered scale-up"}]) is None


@pytest.mark.parametrize(("count", "found"), [(1, False), (3, True)])
def test_a_volume_that_cannot_be_mounted_is_named_once_it_recurs(count: int, found: bool) -> None:
    mount = {"reason": "FailedMount", "message": 'MountVolume.SetUp failed: secret "x" not found', "count": count}
    failure = classify(waiting("ContainerCreating"), [mount])
    assert (failure is not None) is found
    if failure is not None:
        assert (failure.failure_class, failure.kind) == (FailureClass.CONFIG, "volume")


def test_the_container_that_failed_first_is_the_cause_and_not_its_victims() -> None:
    pod = ended(1, name="victim", message="Connection closed by peer")
    cause = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-24T10:00:01Z"}
    pod["status"]["containerStatuses"].append({"name": "cause", "state": {"terminated": cause}})
    failure = classify(pod)
    assert failure is not None and failure.failure_class is FailureClass.HOST_OOM
    assert "cause" in failure.message


def test_a_preempted_programs_checkpoint_is_kept() -> None:
    left = Outcome(failure=Failure(failure_class=FailureClass.PREEMPTED, checkpoint="s3://c/step-40", rank=2)).encode()
    pod = disrupted("PreemptionByScheduler")
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = left
    failure = classify(pod)
    assert failure is not None and (failure.kind, failure.checkpoint, failure.rank) == (
        "scheduler",
        "s3://c/step-40",
        2,
    )


@given(
    st.sampled_from(["Failed", "Pending", "Running", "Unknown"]), st.text(), st.text(), st.integers(-1, 255), st.text()
)
def test_no_text_makes_it_crash_and_a_failed_pod_always_has_a_name(
    phase: str, reason: str, message: str, code: int, left: str
) -> None:
    pod = ended(code, reason, left)
    pod["status"] |= {"phase": phase, "reason": reason, "message": message}
    failure = classify(pod)
    assert failure is None or failure.failure_class in FailureClass
    if phase == "Failed":
        assert failure is not None


# As exceptions


def test_every_class_has_a_type_of_its_own() -> None:
    assert set(TYPES) == set(FailureClass) and len(set(TYPES.values())) == len(TYPES)


def test_the_exception_says_what_where_and_why() -> None:
    failure = Failure(failure_class=FailureClass.EVICTED, kind="memory", message="the node was low on memory")
    caught = error("train-1", failure, "gpu-7")
    assert str(caught) == "pod train-1 failed (evicted/memory) on node gpu-7: the node was low on memory"
    assert (caught.failure, caught.node) == (failure, "gpu-7")
