"""What is done once a task or a run has ended: pods, rollouts, and a ledger that is away meanwhile."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tenacity import stop_after_attempt

from bulkhead.control import Control
from bulkhead.errors import UnavailableError
from bulkhead.ledger.launches import Launches
from bulkhead.ledger.tables import Launch, Phase
from bulkhead.operators import insistence
from bulkhead.plugins import endings
from bulkhead.pods.identity import TaskIdentity
from bulkhead.pods.spec import PodRequest, build
from tests.rollouts import request


def _pod(control: Control, task: TaskIdentity) -> str:
    name = task.pod_name(1)
    command = ["python", "-c", "import time; time.sleep(60)"]
    access = {"local_root": str(control.runtime.layout.root)}
    known = {"dag_id": task.dag_id, "run_id": task.run_id, "task_id": task.task_id, "map_index": task.map_index}
    control.ledger.launches.record(access, "default", name, owner=task.owner, instance=task.instance, task=known)
    control.runtime.launch(build(PodRequest(name=name, image="none", command=command, labels=task.labels())))
    return name


def test_a_run_that_ended_has_its_rollout_taken_back_and_its_pods_ended(control: Control) -> None:
    rollout = request(control.ledger, "a", owner="airflow:release/run")
    other = request(control.ledger, "b", service="letters", owner="airflow:release/other")
    pod = _pod(control, TaskIdentity("release", "run", "train"))
    others = _pod(control, TaskIdentity("release", "other", "train"))
    endings.end_run("release", "run")
    now = control.ledger.rollouts.get(rollout.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, "its DAG run has ended")
    assert control.ledger.rollouts.get(other.id).phase is Phase.REQUESTED
    assert control.runtime.status(pod).message == "its DAG run has ended"
    assert not control.runtime.status(others).ended


def test_a_task_that_a_person_marked_has_its_own_pods_ended_under_every_clear_number(control: Control) -> None:
    task = TaskIdentity("release", "run", "train")
    pods = [_pod(control, replace(task, clear_number=clear_number)) for clear_number in (0, 1)]
    others = _pod(control, replace(task, task_id="evaluate"))
    endings.end_task("release", "run", "train", -1)
    assert [control.runtime.status(pod).message for pod in pods] == [
        "a later try of its task took its place",
        "its task was marked in Airflow",
    ]
    assert not control.runtime.status(others).ended


def test_a_deploy_task_that_a_person_marked_has_its_rollout_taken_back(control: Control) -> None:
    task = TaskIdentity("release", "run", "deploy", clear_number=1)
    rollout = request(control.ledger, "a", owner=task.owner, key=task.key)
    endings.end_task("release", "run", "evaluate", -1)
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.REQUESTED
    endings.end_task("release", "run", "deploy", -1)
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.RESTORING


def test_what_released_nothing_leaves_nothing(control: Control) -> None:
    endings.end_run("release", "run")
    assert control.ledger.events.select() == []


def test_twice_is_one_rollback(control: Control) -> None:
    rollout = request(control.ledger, "a", owner="airflow:release/run")
    for _ in range(2):
        endings.end_run("release", "run")
    assert len(control.ledger.events.select(rollout.id, "rollback")) == 1


def test_a_ledger_that_is_away_does_not_stop_airflow_and_is_logged(
    control: Control, no_waiting: None, monkeypatch: pytest.MonkeyPatch, tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(insistence, "stop_after_delay", lambda _: stop_after_attempt(2))
    (tmp_path / "no-folder").touch()
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", f"sqlite:///{tmp_path}/no-folder/ledger.db")
    with caplog.at_level("ERROR", logger="bulkhead.plugins.endings"):
        endings.end_run("release", "run")
    assert "could not be ended" in caplog.text and "bulkhead status" in caplog.text


def test_a_ledger_that_is_away_for_a_moment_leaves_no_pod(
    control: Control, no_waiting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = _pod(control, TaskIdentity("release", "run", "train"))
    ended, asked = Launches.ended, []

    def away_at_first(launches: Launches) -> Sequence[Launch]:
        asked.append(1)
        if len(asked) == 1:
            raise UnavailableError("the ledger does not answer: disk I/O error; it is tried again")
        return ended(launches)

    monkeypatch.setattr(Launches, "ended", away_at_first)
    endings.end_run("release", "run")
    assert control.runtime.status(pod).message == "its DAG run has ended"
