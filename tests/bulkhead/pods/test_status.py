from typing import Any

import pytest

from bulkhead.pods.outcome import Failure, FailureClass, Outcome
from bulkhead.pods.status import PodPhase, parse


def _ended(phase: str, reason: str, code: int, message: str = "", **more: Any) -> dict[str, Any]:
    terminated = {
        "exitCode": code,
        "reason": reason,
        "message": message,
        "startedAt": "2026-11-24T10:00:00Z",
        "finishedAt": "2026-11-24T10:00:09Z",
    }
    return {"phase": phase, "containerStatuses": [{"ready": False, "state": {"terminated": terminated}}], **more}


def test_a_pending_pod_without_containers() -> None:
    status = parse({"phase": "Pending"})
    assert status.phase is PodPhase.PENDING and not status.ended and status.exit_code is None


def test_an_empty_status_is_pending() -> None:
    assert parse({}).phase is PodPhase.PENDING


def test_a_running_pod_is_ready_when_its_container_is() -> None:
    state = {"running": {"startedAt": "2026-11-24T10:00:00Z"}}
    status = parse({"phase": "Running", "containerStatuses": [{"ready": True, "state": state}]})
    assert status.ready and status.started_at is not None


def test_a_pod_that_succeeded_gives_its_result() -> None:
    status = parse(_ended("Succeeded", "Completed", 0, Outcome(result={"accuracy": 0.98}).encode()))
    assert status.ended and status.outcome.result == {"accuracy": 0.98}
    assert status.finished_at is not None and status.started_at is not None
    assert (status.finished_at - status.started_at).total_seconds() == 9


def test_a_pod_that_left_no_outcome_succeeded_with_nothing() -> None:
    assert parse(_ended("Succeeded", "Completed", 0, "bye")).outcome == Outcome()


def test_a_failure_that_the_container_named() -> None:
    left = Outcome(failure=Failure(failure_class=FailureClass.GATE, message="accuracy 0.9 is under 0.97"))
    assert parse(_ended("Failed", "Error", 1, left.encode())).outcome == left


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("OOMKilled", FailureClass.HOST_OOM),
        ("DeadlineExceeded", FailureClass.DEADLINE),
        ("NodeLost", FailureClass.NODE_LOST),
        ("Cancelled", FailureClass.CANCELLED),
        ("StartError", FailureClass.CONFIG),
        ("Error", FailureClass.APPLICATION),
    ],
)
def test_a_failure_that_only_the_runtime_saw(reason: str, expected: FailureClass) -> None:
    failure = parse({**_ended("Failed", reason, 137), "reason": reason}).outcome.failure
    assert failure is not None and failure.failure_class is expected


def test_the_runtime_knows_better_than_the_container_why_it_was_killed() -> None:
    left = Outcome(failure=Failure(failure_class=FailureClass.APPLICATION, message="Broken pipe"))
    failure = parse(_ended("Failed", "OOMKilled", 137, left.encode())).outcome.failure
    assert failure is not None and failure.failure_class is FailureClass.HOST_OOM


def test_a_pod_that_never_started_says_why_it_waits() -> None:
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": "secret not found"}}
    status = parse({"phase": "Pending", "containerStatuses": [{"state": waiting}]})
    assert (status.reason, status.message) == ("CreateContainerConfigError", "secret not found")
