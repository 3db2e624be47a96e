"""Every test here runs on SQLite and on PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bulkhead.ledger.launches import Launches, cluster_key_of
from bulkhead.ledger.ledger import Ledger
from bulkhead.pods.identity import TaskIdentity

ACCESS = {"kubernetes_conn_id": "gpu", "cluster_context": None}
TASK = TaskIdentity("release", "run", "train")
Record = Callable[..., Any]


@pytest.fixture
def launches(ledger: Ledger) -> Launches:
    return Launches(ledger.engine)


def launch(launches: Launches, pod: str, task: TaskIdentity = TASK, **more: Any) -> list[str]:
    known = {"dag_id": task.dag_id, "run_id": task.run_id, "task_id": task.task_id, "map_index": task.map_index}
    settings = {"owner": task.owner, "instance": task.instance, "task": known, **more}
    return [one.pod for one in launches.record(ACCESS, "ml", pod, **settings)]


def _pods(found: Any) -> list[str]:
    return [one.pod for one in found]


def test_a_launch_is_wanted_until_its_task_is_over(launches: Launches) -> None:
    assert launch(launches, "train-1") == []
    assert _pods(launches.active()) == ["train-1"] and _pods(launches.ended()) == []
    assert launches.end_instance(TASK.instance, "marked") == 1
    assert _pods(launches.active()) == []
    (ended,) = launches.ended()
    assert (ended.pod, ended.reason, ended.task["task_id"]) == ("train-1", "marked", "train")
    launches.mark_gone(ACCESS, "ml", "train-1", "gone")
    assert launches.ended() == []


def test_the_first_reason_stays(launches: Launches) -> None:
    launch(launches, "train-1")
    assert [launches.end_run(TASK.owner, "the run ended"), launches.end_instance(TASK.instance, "marked")] == [1, 0]
    launches.mark_gone(ACCESS, "ml", "train-1", "gone")
    assert launches.pods(ACCESS, "ml") == {"train-1"}


def test_another_try_supersedes_the_pod_of_the_one_before_until_it_is_gone(launches: Launches) -> None:
    launch(launches, "train-1")
    assert launch(launches, "train-2") == ["train-1"]
    assert launch(launches, "train-2") == ["train-1"]
    assert _pods(launches.active()) == ["train-2"] and _pods(launches.ended()) == ["train-1"]
    launches.mark_gone(ACCESS, "ml", "train-1", "gone")
    assert launch(launches, "train-2") == []


def test_tasks_runs_and_places_do_not_touch_each_other(launches: Launches) -> None:
    launch(launches, "a")
    launch(launches, "b", TaskIdentity("release", "run", "evaluate"))
    launch(launches, "c", TaskIdentity("release", "other", "train"))
    launch(launches, "d", TaskIdentity("release", "run", "train", 1))
    launches.end_instance(TASK.instance, "marked")
    assert _pods(launches.ended()) == ["a"]
    launches.end_run(TASK.owner, "over")
    assert _pods(launches.ended()) == ["a", "b", "d"]
    launches.mark_gone({"kubernetes_conn_id": "other"}, "ml", "a", "gone")
    assert _pods(launches.ended()) == ["a", "b", "d"]


def test_a_launch_that_is_recorded_again_is_wanted_again(launches: Launches) -> None:
    launch(launches, "train-1")
    launches.end_run(TASK.owner, "over")
    launch(launches, "train-1")
    assert _pods(launches.active()) == ["train-1"]


def test_what_was_chosen_ends(launches: Launches) -> None:
    launch(launches, "a")
    launch(launches, "b", TaskIdentity("release", "run", "evaluate"))
    first, _ = launches.active()
    assert launches.end([first], "its task is over: failed") == 1
    assert _pods(launches.active()) == ["b"]


def test_what_is_long_gone_is_forgotten_and_nothing_else(ledger: Ledger) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    launches = Launches(ledger.engine, lambda: now)
    launch(launches, "old")
    launches.mark_gone(ACCESS, "ml", "old", "gone")
    launch(launches, "running", TaskIdentity("release", "run", "evaluate"))
    now += timedelta(days=31)
    assert launches.forget() == 1
    assert launches.pods(ACCESS, "ml") == {"running"}


def test_a_place_is_the_same_whatever_the_order() -> None:
    assert (
        cluster_key_of({"a": 1, "b": None})
        == cluster_key_of({"b": None, "a": 1})
        != cluster_key_of({"a": 2, "b": None})
    )
