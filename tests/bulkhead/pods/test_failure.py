"""The name that each recorded failure must get."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.pods.exceptions import TYPES, error
from bulkhead.pods.failure import classify
from bulkhead.pods.outcome import Failure, FailureClass, Outcome
from bulkhead.pods.status import PodPhase, of_task, parse
from tests import failed_pods, misread_pods
from tests.failed_pods import Pod, disrupted, ended, unscheduled, waiting

CASES = [*failed_pods.CASES, *misread_pods.CASES]


def test_there_are_at_least_sixty() -> None:
    assert len(CASES) >= 60 and len({name for name, *_ in CASES}) == len(CASES)


# An id with a line's end is not found by a second session of the same process, of which `make mutants` has several.
IDS = [case[0].replace("\n", " / ") for case in CASES]


@pytest.mark.parametrize(("pod", "named", "kind"), [case[1:] for case in CASES], ids=IDS)
def test_a_recorded_failure_gets_its_name(pod: Pod, named: str, kind: str) -> None:
    failure = classify(pod)
    assert failure is not None
    assert failure.failure_class == named
    if kind or named in ("application", "host_oom", "gpu_oom"):
        assert failure.kind == kind
    assert failure.message


def test_precision_and_recall_of_the_recorded_pods(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Counter[str]] = {}
    for _, pod, named, _ in CASES:
        failure = classify(pod)
        found = str(failure.failure_class) if failure is not None else "none"
        for name in {named, found}:
            right = "right" if named == found else "wrong" if name == found else "missed"
            names.setdefault(name, Counter())[right] += 1
    precision = {name: one["right"] / max(1, one["right"] + one["wrong"]) for name, one in names.items()}
    recall = {name: one["right"] / max(1, one["right"] + one["missed"]) for name, one in names.items()}
    with capsys.disabled():
        worst = f"precision {min(precision.values()):.3f}, recall {min(recall.values()):.3f}"
        print(f"\n{len(CASES)} recorded pods, {len(names)} classes: in the worst of them {worst}")
    assert set(precision.values()) == set(recall.values()) == {1.0}


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


AT = "2026-11-24T10:00:02Z"


def _container(name: str, code: int | None, message: str = "", at: str = AT) -> Pod:
    if code is None:
        return {"name": name, "state": {"running": {"startedAt": AT}}}
    return {"name": name, "state": {"terminated": {"exitCode": code, "message": message, "finishedAt": at}}}


def _beside(first: list[Pod], then: list[Pod], phase: str = "Failed", **spec: object) -> Pod:
    status = {"phase": phase, "initContainerStatuses": first, "containerStatuses": then}
    return {"spec": spec, "status": status}


@pytest.mark.parametrize(
    ("pod", "named", "message"),
    [
        (_beside([_container("proxy", 143)], [_container("base", 1, "ValueError: x")]), "application", "base"),
        (_beside([], [_container("azwi", 143), _container("base", 1, "KeyError")]), "application", "base"),
        (
            _beside([], [_container("azwi", 143, at="2026-11-24T10:00:01Z"), _container("base", 1)]),
            "application",
            "base",
        ),
        (
            _beside(
                [_container("proxy", 1)],
                [_container("work", 1, "late", "2026-11-24T10:00:09Z")],
                initContainers=[{"name": "proxy", "restartPolicy": "Always"}],
                containers=[{"name": "work"}],
            ),
            "application",
            "work",
        ),
        (
            _beside([_container("fetch", 1)], [{"name": "base", "state": {"waiting": {"reason": "PodInitializing"}}}]),
            "application",
            "fetch",
        ),
        (_beside([], [_container("base", 143)]), "cancelled", "base"),
        (
            _beside([], [_container("azwi", 1), _container("work", 7)], containers=[{"name": "work"}]),
            "application",
            "exit code 7",
        ),
    ],
)
def test_what_ran_beside_the_base_container_is_not_the_cause(pod: Pod, named: str, message: str) -> None:
    failure = classify(pod)
    assert failure is not None and failure.failure_class == named and message in failure.message


@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_a_task_is_done_when_its_base_container_is_whatever_became_of_what_ran_beside_it(phase: str) -> None:
    beside = _container("istio-proxy", 1 if phase == "Failed" else None)
    pod = _beside([], [_container("base", 0, Outcome(result={"run": "r"}).encode()), beside], phase)
    assert classify(pod) is None
    status = of_task(pod)
    assert (status.phase, status.outcome.result) == (PodPhase.SUCCEEDED, {"run": "r"})
    status = of_task(_beside([], [_container("azwi", None), _container("base", 1)], "Running"))
    assert (status.phase, status.exit_code) == (PodPhase.FAILED, 1)


def test_a_server_that_is_started_again_has_not_ended() -> None:
    pod = _beside([], [_container("base", 1)], "Running", restartPolicy="Always")
    assert classify(pod) is None and of_task(pod).phase is PodPhase.RUNNING


def test_an_eviction_counts_although_the_program_ended_well() -> None:
    pod = ended(0, reason="Completed")
    pod["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}
    failure = classify(pod)
    assert failure is not None and failure.failure_class is FailureClass.EVICTED


@pytest.mark.parametrize(
    ("resources", "named", "kind"),
    [
        ({}, "application", "no-gpu-asked-for"),
        ({"limits": {"nvidia.com/gpu": "1"}}, "device_fault", "no-device"),
    ],
)
def test_a_program_that_asked_for_no_gpu_blames_no_device(resources: Pod, named: str, kind: str) -> None:
    pod = ended(1, message="RuntimeError: No CUDA GPUs are available")
    pod["spec"] = {"containers": [{"name": "main", "resources": resources}]}
    failure = classify(pod)
    assert failure is not None and (failure.failure_class, failure.kind) == (named, kind)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('MountVolume.SetUp failed for volume "x": secret "hf-token" not found', "volume"),
        ('Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node', "volume-held"),
        ("Unable to attach or mount volumes: timed out waiting for the condition", "volume-late"),
    ],
)
def test_a_volume_is_named_by_what_it_lacks(message: str, kind: str) -> None:
    failure = classify(waiting("ContainerCreating"), [{"reason": "FailedMount", "message": message, "count": 4}])
    assert failure is not None and (failure.failure_class, failure.kind) == (FailureClass.CONFIG, kind)


@pytest.mark.parametrize(
    ("reason", "named"),
    [("TaintManagerEviction", "evicted"), ("Preempted", "preempted"), ("NodeNotReady", "node_lost"), ("Pulled", "")],
)
def test_who_ended_a_pod_that_left_no_condition_is_told_by_its_events(reason: str, named: str) -> None:
    events = [{"reason": "Killing", "message": "Stopping container"}, {"reason": reason, "message": "x"}]
    failure = classify(ended(143), events)
    assert failure is not None and failure.failure_class == (named or "cancelled")
    own = classify(ended(1, message="ValueError"), events)
    assert own is not None and own.failure_class is FailureClass.APPLICATION


def test_a_phase_that_nobody_knows_ends_nothing() -> None:
    for phase in ("Unknown", "OfALaterKubernetes"):
        assert not parse({"phase": phase, "reason": "NodeLost"}).ended


def test_a_kubelets_zero_time_is_none() -> None:
    status = ended(137, "ContainerStatusUnknown")["status"]
    status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = "0001-01-01T00:00:00Z"
    assert parse(status).finished_at is None
