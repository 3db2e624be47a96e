"""How the pods of a revision do, from what the API server has of them."""

from typing import Any

from bulkhead.pods.outcome import FailureClass
from bulkhead.workloads.quarters import failing, lives


def _pod(container: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    status = {"phase": "Running", "containerStatuses": [{"name": "main", "ready": False, **container}]}
    return {"metadata": {"name": "serve-digits-1-x", **metadata}, "status": status}


CRASHED = {"exitCode": 3, "reason": "Error", "message": "no weights"}


def test_a_pod_that_ends_again_and_again_has_failed_as_it_did_last() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = failing([_pod({"restartCount": 4, "state": waiting, "lastState": {"terminated": CRASHED}})])
    assert status is not None and status.failure is not None
    assert (status.ended, status.failure.failure_class) == (True, FailureClass.APPLICATION)
    assert status.message.startswith("serve-digits-1-x: ")


def test_one_that_ended_once_may_come_up_yet() -> None:
    once = {"restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": CRASHED}}
    assert failing([_pod(once)]) is None


def test_one_that_is_being_deleted_says_nothing() -> None:
    crashed = {"restartCount": 4, "state": {"terminated": CRASHED}}
    assert failing([_pod(crashed, deletionTimestamp="2026-01-01T00:00:00Z")]) is None


def test_an_image_that_is_not_there_has_failed() -> None:
    waiting = {"waiting": {"reason": "InvalidImageName", "message": "no such name"}}
    status = failing([_pod({"state": waiting})])
    assert status is not None and status.failure is not None
    assert status.failure.failure_class is FailureClass.IMAGE


def test_pods_that_start_are_waited_for() -> None:
    assert failing([]) is None
    assert failing([_pod({"state": {"waiting": {"reason": "ContainerCreating"}}})]) is None


def _up(**more: Any) -> dict[str, Any]:
    metadata = {"name": "digits-1-a", "uid": "u1", **more.pop("metadata", {})}
    counts = [{"name": "proxy", "restartCount": 7}, {"name": "main", "restartCount": 2}]
    status = {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": counts}
    spec = {"containers": [{"name": "main"}, {"name": "proxy"}]}
    return {"metadata": metadata, "spec": spec, "status": {**status, **more}}


def test_a_pod_that_was_restarted_has_another_life() -> None:
    assert lives([_up()]) == [("digits-1-a/u1/2", "10.0.0.7")]
    again = [{"name": "main", "restartCount": 3}]
    assert lives([_up(containerStatuses=again, podIP="fd00::7")]) == [("digits-1-a/u1/3", "[fd00::7]")]


def test_only_pods_that_answer_are_asked() -> None:
    unready = [{"type": "Ready", "status": "False"}]
    ending = {"deletionTimestamp": "2026-11-26T01:00:00Z"}
    assert lives([_up(conditions=unready), _up(podIP=""), _up(metadata=ending)]) == []
