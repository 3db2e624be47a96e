"""How the pods of a revision do, from what the API server has of them."""

from typing import Any

from bulkhead.pods.outcome import FailureClass
from bulkhead.workloads.serving_pods import failing, ready_pods


def _pod(container: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    status = {"phase": "Running", "containerStatuses": [{"name": "main", "ready": False, **container}]}
    return {"metadata": {"name": "serve-digits-1-x", **metadata}, "status": status}


def _silent(_: str) -> list[dict[str, Any]]:
    return []


CRASHED = {"exitCode": 3, "reason": "Error", "message": "no weights"}


def test_a_pod_that_ends_again_and_again_has_failed_as_it_did_last() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = failing([_pod({"restartCount": 4, "state": waiting, "lastState": {"terminated": CRASHED}})], _silent)
    assert status is not None and status.failure is not None
    assert (status.ended, status.failure.failure_class) == (True, FailureClass.APPLICATION)
    assert status.message.startswith("serve-digits-1-x: ")


def test_one_that_ended_once_may_come_up_yet() -> None:
    once = {"restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": CRASHED}}
    assert failing([_pod(once)], _silent) is None


def test_one_that_is_being_deleted_says_nothing() -> None:
    crashed = {"restartCount": 4, "state": {"terminated": CRASHED}}
    assert failing([_pod(crashed, deletionTimestamp="2026-01-01T00:00:00Z")], _silent) is None


def test_an_image_that_is_not_there_has_failed() -> None:
    waiting = {"waiting": {"reason": "InvalidImageName", "message": "no such name"}}
    status = failing([_pod({"state": waiting})], _silent)
    assert status is not None and status.failure is not None
    assert status.failure.failure_class is FailureClass.IMAGE


def test_pods_that_start_are_waited_for() -> None:
    assert failing([], _silent) is None
    assert failing([_pod({"state": {"waiting": {"reason": "ContainerCreating"}}})], _silent) is None


def _unscheduled(name: str = "serve-digits-1-x") -> dict[str, Any]:
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"metadata": {"name": name}, "status": {"phase": "Pending", "conditions": [condition]}}


def test_a_node_that_is_scaled_up_from_zero_is_waited_for() -> None:
    before = failing([_unscheduled()], _silent)  # the autoscaler looks every ten seconds or so
    assert before is not None and before.failure is not None
    assert (before.ended, before.ready, before.failure.kind) == (False, False, "gpu")
    assert before.message == "serve-digits-1-x: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    on_its_way = failing([_unscheduled()], lambda _: [{"reason": "TriggeredScaleUp", "message": "1->2"}])
    assert on_its_way == before  # with its failure: a candidate that had requests and lost its nodes is rolled back


def test_a_selector_that_no_autoscaler_can_meet_has_failed() -> None:
    pod = _unscheduled()
    pod["status"]["conditions"][0]["message"] = "0/3 nodes: 3 node(s) didn't match Pod's node affinity/selector."
    never = [{"reason": "NotTriggerScaleUp", "message": "pod didn't trigger scale-up"}]
    for events, ended in (([], False), (never, True)):
        status = failing([pod], lambda _, message=events: message)
        assert status is not None and status.ended is ended


def test_a_secret_that_is_not_there_is_told_by_the_events() -> None:
    mount = {"reason": "FailedMount", "message": 'MountVolume.SetUp failed: secret "hf" not found', "count": 3}
    pod = _pod({"state": {"waiting": {"reason": "ContainerCreating"}}})
    pod["status"]["phase"] = "Pending"
    status = failing([pod], lambda _: [mount])
    assert status is not None and status.ended and 'secret "hf" not found' in status.message


def test_a_registry_that_is_busy_is_waited_for() -> None:
    pod = _pod({"state": {"waiting": {"reason": "ErrImagePull", "message": "toomanyrequests: slow down"}}})
    pod["status"]["phase"] = "Pending"
    status = failing([pod], _silent)
    assert status is not None and status.failure is not None
    assert (status.ended, status.failure.kind) == (False, "rate-limit")


def test_the_events_of_the_first_pod_that_has_not_started_are_read_and_no_others() -> None:
    asked: list[str] = []

    def events(name: str) -> list[dict[str, Any]]:
        asked.append(name)
        return []

    runs = _pod({"restartCount": 0, "state": {"running": {}}})
    failing([runs, _unscheduled("b"), _unscheduled("c")], events)
    assert asked == ["b"]


def _up(**more: Any) -> dict[str, Any]:
    metadata = {"name": "digits-1-a", "uid": "u1", **more.pop("metadata", {})}
    counts = [{"name": "proxy", "restartCount": 7}, {"name": "main", "restartCount": 2}]
    status = {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": counts}
    spec = {"containers": [{"name": "main"}, {"name": "proxy"}]}
    return {"metadata": metadata, "spec": spec, "status": {**status, **more}}


def test_a_pod_that_was_restarted_has_another_life() -> None:
    assert ready_pods([_up()]) == [("digits-1-a/u1/2", "10.0.0.7")]
    again = [{"name": "main", "restartCount": 3}]
    assert ready_pods([_up(containerStatuses=again, podIP="fd00::7")]) == [("digits-1-a/u1/3", "[fd00::7]")]


def test_only_pods_that_answer_are_asked() -> None:
    unready = [{"type": "Ready", "status": "False"}]
    ending = {"deletionTimestamp": "2026-11-26T01:00:00Z"}
    assert ready_pods([_up(conditions=unready), _up(podIP=""), _up(metadata=ending)]) == []
