"""Pods on Kubernetes under a real scheduler, triggerer and api-server; on a real cluster where KUBECONFIG names one."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.conftest import Kept, Pods
from tests.waiting import until

pytestmark = pytest.mark.e2e


def _patch(kept: Kept, path: str, body: dict[str, object]) -> None:
    kept.airflow.call("PATCH", f"/api/v2/dags/{path}", body)


def _write(kept: Kept, statement: str) -> None:
    """Change Airflow's own database: what no test can wait for."""
    with closing(sqlite3.connect(kept.folder / "airflow" / "airflow.db", timeout=30)) as database, database:
        assert database.execute(statement).rowcount == 1


def _gone(pods: Pods, run_id: str) -> None:
    until(lambda: not pods(run_id), f"the pods of {run_id} to be gone")


def _xcom(kept: Kept, dag_id: str, run_id: str, task_id: str) -> Any:
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
    return kept.airflow.call("GET", path)["value"]


def test_its_log_is_there_while_it_runs_and_its_result_at_the_end(kept: Kept, pods: Pods) -> None:
    kept.deferred("gpu_counter", "log", "count")
    (pod,) = pods("log")
    until(lambda: "a line" in kept.airflow.log("gpu_counter", "log", "count"), "its log")
    assert kept.airflow.task_states("gpu_counter", "log")["count"] == "deferred"
    pods.end(pod)
    kept.task("gpu_counter", "log", "count", "success")
    assert _xcom(kept, "gpu_counter", "log", "count") == {"answer": 42}
    _gone(pods, "log")


def test_a_task_marked_failed_takes_its_pod_down(kept: Kept, pods: Pods) -> None:
    kept.deferred("gpu_sleeper", "marked", "sleep")
    assert len(pods("marked")) == 1
    _patch(kept, "gpu_sleeper/dagRuns/marked/taskInstances/sleep", {"new_state": "failed"})
    _gone(pods, "marked")


def test_a_cleared_task_never_has_two_pods(kept: Kept, pods: Pods) -> None:
    kept.deferred("gpu_sleeper", "cleared", "sleep")
    (first,) = pods("cleared")
    body = {"dry_run": False, "dag_run_id": "cleared", "task_ids": ["sleep"], "only_failed": False}
    kept.airflow.call("POST", "/api/v2/dags/gpu_sleeper/clearTaskInstances", {**body, "reset_dag_runs": True})

    def another() -> list[str]:
        now = pods("cleared")
        assert len(now) <= 1
        return [name for name in now if name != first]

    until(another, "the new pod")
    kept.task("gpu_sleeper", "cleared", "sleep", "deferred")
    _patch(kept, "gpu_sleeper/dagRuns/cleared", {"state": "failed"})
    _gone(pods, "cleared")


def test_a_run_that_times_out_takes_its_pod_down(kept: Kept, pods: Pods) -> None:
    kept.deferred("gpu_late", "late", "sleep")
    assert len(pods("late")) == 1
    _write(kept, "UPDATE dag_run SET start_date = '2026-01-01 00:00:00.000000' WHERE run_id = 'late'")
    until(lambda: kept.airflow.run("gpu_late", "late")["state"] == "failed", "the timeout")
    _gone(pods, "late")


def test_a_task_marked_while_no_triggerer_runs_takes_its_pod_down(kept: Kept, pods: Pods) -> None:
    kept.deferred("gpu_sleeper", "alone", "sleep")
    with kept.without("triggerer"):
        _patch(kept, "gpu_sleeper/dagRuns/alone/taskInstances/sleep", {"new_state": "failed"})
        _gone(pods, "alone")


def test_a_pod_that_ends_while_no_triggerer_runs_is_used(kept: Kept, pods: Pods) -> None:
    kept.deferred("gpu_counter", "unwatched", "count")
    (pod,) = pods("unwatched")
    with kept.without("triggerer"):
        pods.end(pod)
        until(lambda: pods.ended(pod), "the pod to end without anybody watching")
        assert pods("unwatched") == [pod]
    kept.task("gpu_counter", "unwatched", "count", "success")
    assert _xcom(kept, "gpu_counter", "unwatched", "count") == {"answer": 42}
    _gone(pods, "unwatched")


def test_a_scheduler_that_is_killed_loses_no_pod(kept: Kept, pods: Pods) -> None:
    kept.deferred("gpu_counter", "scheduled", "count")
    (pod,) = pods("scheduled")
    with kept.without("scheduler"):
        assert pods("scheduled") == [pod]
    pods.end(pod)
    kept.task("gpu_counter", "scheduled", "count", "success")


def test_what_every_callback_missed_the_collector_finds(kept: Kept, pods: Pods) -> None:
    """Task and run fail in Airflow's database alone, as where each process dies before it has told anybody."""
    kept.deferred("gpu_sleeper", "missed", "sleep")
    with kept.without("triggerer"):
        for table in ("task_instance", "dag_run"):
            _write(kept, f"UPDATE {table} SET state = 'failed' WHERE run_id = 'missed'")
        assert len(pods("missed")) == 1
        assert [launch.pod for launch in kept.control.ledger.launches.active()] == pods("missed")
        _patch(kept, "bulkhead_collect", {"is_paused": False})
        _gone(pods, "missed")
        _patch(kept, "bulkhead_collect", {"is_paused": True})
    assert kept.control.ledger.launches.active() == []


def test_nothing_is_left(kept: Kept, pods: Pods) -> None:
    assert kept.cli("collect", "--json").returncode == 0
    assert pods("") == []
