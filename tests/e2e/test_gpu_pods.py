"""Pods on Kubernetes under a real scheduler, triggerer and api-server; on a real cluster where KUBECONFIG names one."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.conftest import Pods, Site
from tests.waiting import until

pytestmark = pytest.mark.e2e


def _patch(site: Site, path: str, body: dict[str, object]) -> None:
    site.airflow.call("PATCH", f"/api/v2/dags/{path}", body)


def _gone(pods: Pods, run_id: str) -> None:
    until(lambda: not pods(run_id), f"the pods of {run_id} to be gone")


def _xcom(site: Site, dag_id: str, run_id: str, task_id: str) -> Any:
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
    return site.airflow.call("GET", path)["value"]


def test_its_log_is_there_while_it_runs_and_its_result_at_the_end(site: Site, pods: Pods) -> None:
    site.deferred("gpu_counter", "log", "count")
    until(lambda: "a line" in site.airflow.log("gpu_counter", "log", "count"), "its log")
    assert site.airflow.task_states("gpu_counter", "log")["count"] == "deferred"
    site.task("gpu_counter", "log", "count", "success")
    assert _xcom(site, "gpu_counter", "log", "count") == {"answer": 42}
    _gone(pods, "log")


def test_a_task_marked_failed_takes_its_pod_down(site: Site, pods: Pods) -> None:
    site.deferred("gpu_sleeper", "marked", "sleep")
    assert len(pods("marked")) == 1
    _patch(site, "gpu_sleeper/dagRuns/marked/taskInstances/sleep", {"new_state": "failed"})
    _gone(pods, "marked")


def test_a_cleared_task_never_has_two_pods(site: Site, pods: Pods) -> None:
    site.deferred("gpu_sleeper", "cleared", "sleep")
    (first,) = pods("cleared")
    body = {"dry_run": False, "dag_run_id": "cleared", "task_ids": ["sleep"], "only_failed": False}
    site.airflow.call("POST", "/api/v2/dags/gpu_sleeper/clearTaskInstances", {**body, "reset_dag_runs": True})

    def another() -> list[str]:
        now = pods("cleared")
        assert len(now) <= 1
        return [name for name in now if name != first]

    until(another, "the new pod")
    site.task("gpu_sleeper", "cleared", "sleep", "deferred")
    _patch(site, "gpu_sleeper/dagRuns/cleared", {"state": "failed"})
    _gone(pods, "cleared")


def test_a_run_that_times_out_takes_its_pod_down(site: Site, pods: Pods) -> None:
    site.deferred("gpu_late", "late", "sleep")
    until(lambda: site.airflow.run("gpu_late", "late")["state"] == "failed", "the timeout")
    _gone(pods, "late")


def test_a_task_marked_while_no_triggerer_runs_takes_its_pod_down(site: Site, pods: Pods) -> None:
    site.deferred("gpu_sleeper", "alone", "sleep")
    with site.without("triggerer"):
        _patch(site, "gpu_sleeper/dagRuns/alone/taskInstances/sleep", {"new_state": "failed"})
        _gone(pods, "alone")


def test_a_pod_that_ends_while_no_triggerer_runs_is_used(site: Site, pods: Pods) -> None:
    site.deferred("gpu_counter", "unwatched", "count")
    (pod,) = pods("unwatched")
    with site.without("triggerer"):
        until(lambda: pods.ended(pod), "the pod to end without anybody watching")
        assert pods("unwatched") == [pod]
    site.task("gpu_counter", "unwatched", "count", "success")
    assert _xcom(site, "gpu_counter", "unwatched", "count") == {"answer": 42}
    _gone(pods, "unwatched")


def test_a_scheduler_that_is_killed_loses_no_pod(site: Site, pods: Pods) -> None:
    site.deferred("gpu_counter", "scheduled", "count")
    (pod,) = pods("scheduled")
    with site.without("scheduler"):
        assert pods("scheduled") == [pod]
    site.task("gpu_counter", "scheduled", "count", "success")


def test_what_every_callback_missed_the_collector_finds(site: Site, pods: Pods) -> None:
    """Task and run fail in Airflow's database alone, as where each process dies before it has told anybody."""
    site.deferred("gpu_sleeper", "missed", "sleep")
    with site.without("triggerer"):
        with closing(sqlite3.connect(site.folder / "airflow" / "airflow.db", timeout=30)) as database, database:
            for table in ("task_instance", "dag_run"):
                database.execute(f"UPDATE {table} SET state = 'failed' WHERE run_id = 'missed'")
        assert len(pods("missed")) == 1
        assert [launch.pod for launch in site.control.ledger.launches.active()] == pods("missed")
        _patch(site, "bulkhead_collect", {"is_paused": False})
        _gone(pods, "missed")
        _patch(site, "bulkhead_collect", {"is_paused": True})
    assert site.control.ledger.launches.active() == []


def test_nothing_is_left(site: Site, pods: Pods) -> None:
    assert site.cli("collect", "--json").returncode == 0
    assert pods("") == []
