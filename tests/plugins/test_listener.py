import threading
from types import SimpleNamespace

import pytest

from bulkhead.control import Control
from bulkhead.ledger.tables import Phase
from plugins import listener
from tests.rollouts import request
from tests.waiting import until


def test_a_failed_runs_rollout_is_taken_back(control: Control) -> None:
    rollout = request(control.ledger, "a", owner="airflow:release/run")
    other = request(control.ledger, "b", service="letters", owner="airflow:release/other")
    listener.record("release", "run", "2026-11-24")
    now = control.ledger.rollout(rollout.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, "its DAG run failed")
    assert control.ledger.rollout(other.id).phase is Phase.REQUESTED


def test_a_run_that_released_nothing_leaves_nothing(control: Control) -> None:
    listener.record("release", "run", "2026-11-24")
    assert control.ledger.events() == []


def test_the_same_failure_twice_is_one_rollback(control: Control) -> None:
    rollout = request(control.ledger, "a", owner="airflow:release/run")
    for _ in range(2):
        listener.record("release", "run", "2026-11-24")
    assert len(control.ledger.events(rollout.id, "rollback")) == 1


def test_a_ledger_that_is_away_does_not_stop_the_scheduler_and_is_logged(
    control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "no-folder").touch()
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", f"sqlite:///{tmp_path}/no-folder/ledger.db")
    with caplog.at_level("ERROR", logger="plugins.listener"):
        listener.record("release", "run", "2026-11-24")
    assert "its rollout could not be taken back" in caplog.text and "bulkhead rollback" in caplog.text


def test_the_hook_does_not_block(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    release, recorded = threading.Event(), []

    def slow(*arguments: str) -> None:
        assert release.wait(30)
        recorded.append(arguments)

    monkeypatch.setattr(listener, "record", slow)
    run = SimpleNamespace(dag_id="release", run_id="run", end_date="2026-11-24")
    listener.on_dag_run_failed(run, "failed")  # it came back although the recording waits
    assert recorded == []
    release.set()
    until(lambda: recorded == [("release", "run", "2026-11-24")], "the recording")
