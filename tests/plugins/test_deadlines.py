import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AsyncCallback, DeadlineAlert

from bulkhead.control import Control
from bulkhead.errors import UnavailableError
from bulkhead.ledger.tables import Phase
from plugins.deadlines import RunParamDeadline, roll_back
from tests.rollouts import request

OWNER = "airflow:release/run"


def _context(state: str = "running", deadline: str = "d1") -> dict[str, Any]:
    return {
        "dag_run": {"dag_id": "release", "dag_run_id": "run", "state": state},
        "deadline": {"id": deadline, "deadline_time": "2026-11-24T10:00:00Z"},
    }


def test_it_takes_back_what_the_late_run_has_in_progress_and_returns_none(control: Control) -> None:
    late = request(control.ledger, "a", owner=OWNER)
    other = request(control.ledger, "b", service="letters", owner="airflow:release/other")
    assert asyncio.run(roll_back("too slow", context=_context())) is None
    now = control.ledger.rollout(late.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, "too slow (2026-11-24T10:00:00Z)")
    assert control.ledger.rollout(other.id).phase is Phase.REQUESTED


def test_run_again_from_the_start_it_does_nothing_more(control: Control) -> None:
    rollout = request(control.ledger, "a", owner=OWNER)
    for _ in range(3):
        asyncio.run(roll_back(context=_context()))
    assert len(control.ledger.events(rollout.id, "rollback")) == 1


def test_it_also_fires_after_the_run_has_failed_and_does_no_harm(control: Control) -> None:
    asyncio.run(roll_back(context=_context("failed")))
    assert control.ledger.rollouts() == []


def test_a_run_that_succeeded_is_left_alone(control: Control) -> None:
    rollout = request(control.ledger, "a", owner=OWNER)
    asyncio.run(roll_back(context=_context("success")))
    assert control.ledger.rollout(rollout.id).phase is Phase.REQUESTED


def test_it_nudges_the_reconciler(control: Control) -> None:
    asyncio.run(roll_back(context=_context()))
    assert (control.settings.home / "nudges" / "nudge").exists()


def test_without_a_context_it_says_what_is_wrong(control: Control) -> None:
    with pytest.raises(ValueError, match="call it through a deadline"):
        asyncio.run(roll_back())


def test_a_ledger_that_is_away_is_an_error_in_the_triggerers_log_and_not_silence(
    control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    (tmp_path / "no-folder").touch()
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", f"sqlite:///{tmp_path}/no-folder/ledger.db")
    with pytest.raises(UnavailableError):
        asyncio.run(roll_back(context=_context()))


def test_airflow_can_import_and_store_the_callback() -> None:
    alert = DeadlineAlert(
        reference=RunParamDeadline("deadline_s", 900), interval=timedelta(0), callback=AsyncCallback(roll_back, {})
    )
    assert alert.callback.path == "plugins.deadlines.roll_back"


# The reference


def test_the_reference_survives_serialisation() -> None:
    reference = RunParamDeadline("limit_s", 60.0)
    assert RunParamDeadline.deserialize_reference(reference.serialize_reference()) == reference


@pytest.mark.parametrize(("conf", "seconds"), [({"deadline_s": 30}, 30), ({}, 900), (None, 900)])
def test_a_runs_deadline_is_its_params_seconds_after_it_was_queued(conf: dict[str, Any] | None, seconds: int) -> None:
    queued = datetime(2026, 11, 24, 10, tzinfo=UTC)
    run = SimpleNamespace(queued_at=queued, run_after=queued, conf=conf)
    session = SimpleNamespace(scalar=lambda _: run)
    found = RunParamDeadline("deadline_s", 900)._evaluate_with(session=session, dag_id="d", run_id="r")
    assert found == queued + timedelta(seconds=seconds)


def test_a_run_that_does_not_exist_has_no_deadline() -> None:
    session = SimpleNamespace(scalar=lambda _: None)
    assert RunParamDeadline()._evaluate_with(session=session, dag_id="d", run_id="r") is None
