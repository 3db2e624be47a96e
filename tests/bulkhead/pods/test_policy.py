import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.policy import RULES, FailureAction, Record, RetryBudget, RetryLimits, changes, decide, hopeless

LIMITS = RetryLimits(user_retries=2, infrastructure_retries=3)
_records = st.builds(
    Record,
    st.sampled_from(list(FailureClass)),
    st.sampled_from(["", "cuda", "memory", "disk-limit", "auth", "gpu", "xid-79"]),
    st.sampled_from(["", "gpu-1", "gpu-2"]),
    st.none() | st.sampled_from(["step-1", "step-2"]),
)


def _decide(*classes: FailureClass | tuple[FailureClass, str], limits: RetryLimits = LIMITS) -> FailureAction:
    records = [
        Record(one, checkpoint=f"step-{n}") if isinstance(one, FailureClass) else Record(*one)
        for n, one in enumerate(classes)
    ]
    return decide(records, limits).action


def test_every_class_has_a_rule() -> None:
    assert {named for named, kind in RULES if kind == ""} == set(FailureClass)


@pytest.mark.parametrize(
    ("failure", "action"),
    [
        (FailureClass.APPLICATION, FailureAction.RETRY),
        (FailureClass.GATE, FailureAction.FAIL),
        (FailureClass.CONFIG, FailureAction.FAIL),
        (FailureClass.HOST_OOM, FailureAction.MORE_MEMORY),
        (FailureClass.GPU_OOM, FailureAction.FAIL),
        (FailureClass.DEVICE_FAULT, FailureAction.ELSEWHERE),
        (FailureClass.NODE_LOST, FailureAction.ELSEWHERE),
        (FailureClass.EVICTED, FailureAction.ELSEWHERE),
        ((FailureClass.EVICTED, "disk-limit"), FailureAction.FAIL),
        (FailureClass.PREEMPTED, FailureAction.RETRY),
        (FailureClass.IMAGE, FailureAction.WAIT),
        ((FailureClass.IMAGE, "rate-limit"), FailureAction.WAIT),
        ((FailureClass.IMAGE, "auth"), FailureAction.FAIL),
        ((FailureClass.UNSCHEDULABLE, "gpu"), FailureAction.WAIT),
        ((FailureClass.UNSCHEDULABLE, "selector"), FailureAction.FAIL),
        ((FailureClass.UNSCHEDULABLE, "node-admission"), FailureAction.ELSEWHERE),
        (FailureClass.ADMISSION, FailureAction.FAIL),
        (FailureClass.DEADLINE, FailureAction.FAIL),
        (FailureClass.HUNG, FailureAction.ELSEWHERE),
        (FailureClass.CLUSTER_UNREACHABLE, FailureAction.WAIT),
        (FailureClass.CANCELLED, FailureAction.FAIL),
    ],
)
def test_the_first_failure(failure: FailureClass | tuple[FailureClass, str], action: FailureAction) -> None:
    assert _decide(failure) is action


def test_a_bad_night_of_spot_nodes_does_not_use_up_the_users_retries() -> None:
    preempted = [FailureClass.PREEMPTED] * 3
    assert _decide(*preempted) is FailureAction.RETRY
    assert _decide(*preempted, FailureClass.APPLICATION) is FailureAction.RETRY
    assert _decide(*preempted, FailureClass.PREEMPTED) is FailureAction.FAIL


def test_the_users_retries_are_counted_by_themselves() -> None:
    assert _decide(FailureClass.APPLICATION, FailureClass.APPLICATION) is FailureAction.RETRY
    assert _decide(*[FailureClass.APPLICATION] * 3) is FailureAction.FAIL


def test_a_cuda_error_that_comes_again_elsewhere_is_the_programs() -> None:
    cuda = (FailureClass.APPLICATION, "cuda")
    assert _decide(cuda) is FailureAction.ELSEWHERE
    assert _decide(cuda, cuda) is FailureAction.FAIL


def test_the_same_cause_without_progress_stops() -> None:
    stuck = [Record(FailureClass.PREEMPTED, checkpoint="step-7")] * 3
    assert decide(stuck, RetryLimits(infrastructure_retries=99)).action is FailureAction.FAIL
    moving = [Record(FailureClass.PREEMPTED, checkpoint=f"step-{n}") for n in range(9)]
    assert decide(moving, RetryLimits(infrastructure_retries=99)).action is FailureAction.RETRY


def test_waiting_doubles_up_to_a_bound() -> None:
    limits = RetryLimits(infrastructure_retries=99, same_cause=99)
    records = [Record(FailureClass.UNSCHEDULABLE, "gpu")]
    delays = [decide(records * n, limits).delay_s for n in range(1, 8)]
    assert delays == [60, 120, 240, 480, 900, 900, 900]


def test_memory_grows_to_its_ceiling() -> None:
    limits = RetryLimits(infrastructure_retries=9, memory_factor=2, memory_ceiling=3)
    oom = Record(FailureClass.HOST_OOM, checkpoint="a")
    assert [changes([oom] * n, limits).memory_factor for n in range(4)] == [1, 2, 3, 3]
    assert decide([oom, oom], limits).action is FailureAction.MORE_MEMORY
    assert decide([oom, oom, oom], limits).action is FailureAction.FAIL


def test_suspected_nodes_are_excluded_and_others_are_not() -> None:
    history = [
        Record(FailureClass.DEVICE_FAULT, "ecc", "gpu-1"),
        Record(FailureClass.PREEMPTED, "scheduler", "gpu-2"),
        Record(FailureClass.NODE_LOST, "", "gpu-3"),
        Record(FailureClass.DEVICE_FAULT, "ecc", "gpu-1"),
    ]
    assert changes(history, LIMITS).exclude_nodes == ("gpu-1", "gpu-3")


def test_where_no_other_node_has_room_those_that_failed_are_only_avoided() -> None:
    history = [
        Record(FailureClass.DEVICE_FAULT, "ecc", "gpu-1"),
        Record(FailureClass.UNSCHEDULABLE, "selector"),
    ]
    decision = decide(history, LIMITS)
    assert (decision.action, decision.reason) == (
        FailureAction.RETRY,
        "unschedulable/selector: retry also where it failed, 2 of 3 infrastructure retries",
    )
    found = changes(history, LIMITS)
    assert (found.exclude_nodes, found.avoid_nodes) == ((), ("gpu-1",))
    again = changes([*history, Record(FailureClass.DEVICE_FAULT, "ecc", "gpu-1")], LIMITS)
    assert (again.exclude_nodes, again.avoid_nodes) == (("gpu-1",), ())


def test_a_selector_that_nothing_was_kept_from_is_the_authors() -> None:
    assert decide([Record(FailureClass.UNSCHEDULABLE, "selector")], LIMITS).action is FailureAction.FAIL
    refused = [Record(FailureClass.DEVICE_FAULT, "ecc", "gpu-1"), *[Record(FailureClass.UNSCHEDULABLE, "selector")] * 2]
    assert decide(refused, LIMITS).action is FailureAction.FAIL


def test_the_latest_checkpoint_is_resumed_from() -> None:
    history = [Record(FailureClass.PREEMPTED, checkpoint="step-1"), Record(FailureClass.HUNG, checkpoint="step-2")]
    assert changes([*history, Record(FailureClass.NODE_LOST)], LIMITS).resume_from == "step-2"


@given(st.lists(_records, min_size=1, max_size=12))
def test_it_always_decides_says_why_and_never_retries_beyond_the_sum(history: list[Record]) -> None:
    decision = decide(history, LIMITS)
    assert decision.reason
    assert 0 <= decision.delay_s <= 900
    if decision.action is not FailureAction.FAIL:
        for budget, most in ((RetryBudget.USER, 2), (RetryBudget.INFRASTRUCTURE, 3)):
            if history[-1].rule.budget is budget:
                assert sum(record.rule.budget is budget for record in history) <= most


@given(_records)
def test_a_record_survives_the_state_store(record: Record) -> None:
    assert Record.load(record.dump()) == record


def _moving(*failures: tuple[FailureClass, str]) -> list[Record]:
    """Failures, each with a newer checkpoint than the one before."""
    return [Record(*failure, node="gpu-1", checkpoint=f"step-{n}") for n, failure in enumerate(failures)]


_APPLICATION, _CUDA = (FailureClass.APPLICATION, ""), (FailureClass.APPLICATION, "cuda")
_FAULT, _OOM = (FailureClass.DEVICE_FAULT, "ecc"), (FailureClass.HOST_OOM, "")
_PREEMPTED = (FailureClass.PREEMPTED, "")


@pytest.mark.parametrize(
    ("history", "limits", "expected"),
    [
        (_moving((FailureClass.GPU_OOM, "")), LIMITS, ("gpu_oom: another try would fail the same way", False)),
        (_moving(_APPLICATION), RetryLimits(), ("application: the 0 user retries are used up", False)),
        (_moving(*[_APPLICATION] * 3), LIMITS, ("application: the 2 user retries are used up", False)),
        (_moving(*[_PREEMPTED] * 4), LIMITS, ("preempted: the 3 infrastructure retries are used up", False)),
        (_moving(*[_FAULT] * 4), LIMITS, ("device_fault/ecc: the 3 infrastructure retries are used up", True)),
        (_moving(_CUDA, _CUDA), LIMITS, ("application/cuda: it came again after retry elsewhere", False)),
        (
            [Record(*_FAULT)] * 3,
            RetryLimits(infrastructure_retries=9),
            ("device_fault/ecc: 3 times in a row without progress", True),
        ),
        (
            _moving(_OOM, _OOM),
            RetryLimits(memory_factor=4, memory_ceiling=2.5),
            ("host_oom: it had 2.5 times the memory asked for already", False),
        ),
        (
            _moving(_APPLICATION, _OOM, _OOM),
            RetryLimits(memory_factor=4, memory_ceiling=2.5),
            ("host_oom: it had 2.5 times the memory asked for already", False),
        ),
    ],
)
def test_it_says_why_it_is_over(history: list[Record], limits: RetryLimits, expected: tuple[str, bool]) -> None:
    decision = decide(history, limits)
    assert (decision.reason, decision.suspect) == expected
    assert (decision.action, decision.delay_s) == (FailureAction.FAIL, 0.0)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (_moving(_APPLICATION), (FailureAction.RETRY, "application: retry here, 1 of 2 user retries", 0, False)),
        (_moving(_CUDA), (FailureAction.ELSEWHERE, "application/cuda: retry elsewhere, 1 of 2 user retries", 0, False)),
        (
            _moving(_APPLICATION, _FAULT, _PREEMPTED, _FAULT),
            (FailureAction.ELSEWHERE, "device_fault/ecc: retry elsewhere, 3 of 3 infrastructure retries", 5, True),
        ),
        (
            _moving(_FAULT, _FAULT),
            (FailureAction.ELSEWHERE, "device_fault/ecc: retry elsewhere, 2 of 3 infrastructure retries", 5, True),
        ),
        (
            _moving(_OOM, _OOM),
            (FailureAction.MORE_MEMORY, "host_oom: retry with more memory, 2 of 3 infrastructure retries", 0, False),
        ),
        (
            _moving((FailureClass.IMAGE, ""), _PREEMPTED, (FailureClass.IMAGE, "rate-limit")),
            (FailureAction.WAIT, "image/rate-limit: wait, then retry, 3 of 3 infrastructure retries", 30, False),
        ),
        (
            _moving((FailureClass.IMAGE, ""), (FailureClass.IMAGE, "rate-limit")),
            (FailureAction.WAIT, "image/rate-limit: wait, then retry, 2 of 3 infrastructure retries", 60, False),
        ),
        (
            [Record(*_FAULT, node="gpu-1"), Record(FailureClass.UNSCHEDULABLE, "gpu")],
            (
                FailureAction.RETRY,
                "unschedulable/gpu: retry also where it failed, 2 of 3 infrastructure retries",
                5,
                False,
            ),
        ),
    ],
)
def test_it_says_what_is_tried_next(history: list[Record], expected: tuple[FailureAction, str, float, bool]) -> None:
    decision = decide(history, LIMITS)
    assert (decision.action, decision.reason, decision.delay_s, decision.suspect) == expected


def test_a_node_whose_pod_was_refused_there_is_left_like_any_other() -> None:
    """Unschedulable *on a node* (its kubelet refused the pod) says nothing of the others."""
    refused = Record(FailureClass.UNSCHEDULABLE, "node-admission", "gpu-2")
    history = [Record(*_FAULT, node="gpu-1"), refused]
    assert decide(history, LIMITS).action is FailureAction.ELSEWHERE
    assert changes(history, LIMITS).exclude_nodes == ("gpu-1", "gpu-2")


def test_nodes_that_are_avoided_stay_so_when_there_is_no_room_again() -> None:
    nowhere = Record(FailureClass.UNSCHEDULABLE, "gpu")
    history = [Record(*_FAULT, node="gpu-1"), nowhere, Record(*_FAULT, node="gpu-2"), nowhere]
    found = changes(history, LIMITS)
    assert (found.exclude_nodes, found.avoid_nodes) == ((), ("gpu-1", "gpu-2"))


def test_a_record_keeps_what_a_decision_needs() -> None:
    failure = Failure(failure_class=FailureClass.DEVICE_FAULT, message="xid 79", kind="xid-79", checkpoint="step-7")
    assert Record.of(failure, "gpu-1") == Record(FailureClass.DEVICE_FAULT, "xid-79", "gpu-1", "step-7")
    assert Record.of(failure, "gpu-1").dump() == {
        "failure_class": "device_fault",
        "kind": "xid-79",
        "node": "gpu-1",
        "checkpoint": "step-7",
    }


def test_what_is_resumed_from_is_nothing_without_a_checkpoint() -> None:
    assert changes([Record(*_PREEMPTED)], LIMITS).resume_from is None
    assert changes([], LIMITS).memory_factor == 1


@pytest.mark.parametrize(
    ("named", "kind", "message", "expected"),
    [
        (FailureClass.IMAGE, "auth", [], True),
        (FailureClass.IMAGE, "rate-limit", [], False),
        (FailureClass.CONFIG, "volume", [], True),
        (FailureClass.UNSCHEDULABLE, "selector", [], False),
        (FailureClass.UNSCHEDULABLE, "selector", ["TriggeredScaleUp"], False),
        (FailureClass.UNSCHEDULABLE, "selector", ["NotTriggerScaleUp"], True),
        (FailureClass.UNSCHEDULABLE, "gpu", ["NotTriggerScaleUp"], False),
    ],
)
def test_a_pod_that_cannot_start_waits_where_it_may_yet(
    named: FailureClass, kind: str, message: list[str], expected: bool
) -> None:
    failure = Failure(failure_class=named, kind=kind)
    assert hopeless(failure, [{"reason": reason} for reason in message]) is expected
