"""What people and faults do to running tasks, under a real scheduler and triggerer."""

import pytest

from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.pods.identity import TaskIdentity, matches
from tests.e2e.conftest import Kept
from tests.waiting import until

pytestmark = pytest.mark.e2e


def _pods(kept: Kept, dag_id: str, run_id: str, task_id: str) -> list[str]:
    labels = TaskIdentity(dag_id, run_id, task_id).instance_labels()
    return [pod.name for pod in kept.control.runtime.list({}) if matches(pod.labels, labels)]


def _rollouts(kept: Kept, run_id: str) -> list[Rollout]:
    found = [rollout for rollout in kept.control.ledger.rollouts.latest() if rollout.owner.endswith(f"/{run_id}")]
    return sorted(found, key=lambda one: one.id)


def _exposed(kept: Kept, run_id: str) -> Rollout:
    def poll() -> Rollout | None:
        active = [rollout for rollout in _rollouts(kept, run_id) if rollout.phase is Phase.ANALYSING]
        return active[0] if active else None

    return until(poll, "the rollout to have traffic")


def _back(kept: Kept, rollout: Rollout) -> Rollout:
    def poll() -> Rollout | None:
        now = kept.control.ledger.rollouts.get(rollout.id)
        return now if now.phase is Phase.ROLLED_BACK else None

    done = until(poll, "the rollout to be rolled back")
    stable = kept.control.ledger.services.get("digits").stable_revision
    assert kept.control.backends("digits").router.read("digits")[1].weights[stable] >= 90
    return done


def _patch(kept: Kept, path: str, body: dict[str, object]) -> None:
    kept.airflow.call("PATCH", f"/api/v2/dags/{path}", body)


def _clear(kept: Kept, dag_id: str, run_id: str, task_id: str) -> None:
    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False, "reset_dag_runs": True}
    kept.airflow.call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body)


def test_a_task_marked_failed_takes_its_pod_down(kept: Kept) -> None:
    kept.deferred("sleeper", "marked", "sleep")
    (pod,) = _pods(kept, "sleeper", "marked", "sleep")
    assert not kept.control.runtime.status(pod).ended
    _patch(kept, "sleeper/dagRuns/marked/taskInstances/sleep", {"new_state": "failed"})
    kept.until("sleeper", "marked", lambda: kept.control.runtime.status(pod).ended, "the pod to end")


def test_a_cleared_task_takes_its_pod_down_and_runs_a_new_one(kept: Kept) -> None:
    kept.deferred("sleeper", "cleared", "sleep")
    (first,) = _pods(kept, "sleeper", "cleared", "sleep")
    _clear(kept, "sleeper", "cleared", "sleep")
    run = ("sleeper", "cleared")
    kept.until(*run, lambda: len(_pods(kept, *run, "sleep")) == 2, "the new pod")
    kept.until(*run, lambda: kept.control.runtime.status(first).ended, "the old pod to end")
    kept.task("sleeper", "cleared", "sleep", "deferred")
    (second,) = set(_pods(kept, "sleeper", "cleared", "sleep")) - {first}
    assert not kept.control.runtime.status(second).ended
    _patch(kept, "sleeper/dagRuns/cleared", {"state": "failed"})
    kept.until(*run, lambda: kept.control.runtime.status(second).ended, "the new pod to end with its run")


def test_a_triggerer_that_is_killed_loses_no_pod_and_runs_none_twice(kept: Kept) -> None:
    kept.deferred("counter", "killed", "count")
    (pod,) = _pods(kept, "counter", "killed", "count")
    with kept.without("triggerer"):
        (kept.control.runtime.layout.pods / f"default.{pod}" / "end").touch()
        until(lambda: kept.control.runtime.status(pod).ended, "the pod to end without anybody watching")
    kept.task("counter", "killed", "count", "success")
    assert _pods(kept, "counter", "killed", "count") == [pod]
    assert kept.control.runtime.read_log(pod).count("counted once") == 1


def test_a_deploy_task_marked_failed_is_rolled_back(kept: Kept) -> None:
    kept.deferred("release_again", "deploy-marked", "deploy")
    rollout = _exposed(kept, "deploy-marked")
    _patch(kept, "release_again/dagRuns/deploy-marked/taskInstances/deploy", {"new_state": "failed"})
    assert _back(kept, rollout).decided_at is not None


def test_a_deploy_task_cleared_in_the_middle_is_rolled_back_and_released_again(kept: Kept) -> None:
    kept.deferred("release_again", "deploy-cleared", "deploy")
    first = _exposed(kept, "deploy-cleared")
    _clear(kept, "release_again", "deploy-cleared", "deploy")
    _back(kept, first)
    until(lambda: len(_rollouts(kept, "deploy-cleared")) == 2, "the new rollout")
    second = _exposed(kept, "deploy-cleared")
    assert second.id != first.id
    _patch(kept, "release_again/dagRuns/deploy-cleared", {"state": "failed"})
    _back(kept, second)


def test_a_version_that_does_not_exist_fails_the_task_with_its_name(kept: Kept) -> None:
    before = kept.control.backends("digits").router.read("digits")[1].weights
    kept.start("release_again", "no-version", {"model_version": "77"})
    kept.task("release_again", "no-version", "deploy", "failed")
    assert "MLflow knows no version 77 of model 'digits'" in kept.airflow.log(
        "release_again", "no-version", "deploy"
    ).replace("\\", "")
    assert kept.control.backends("digits").router.read("digits")[1].weights == before
