import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AsyncCallback, DeadlineAlert
from airflow.sdk.module_loading import import_string
from tenacity import stop_after_attempt

from bulkhead.control import Control
from bulkhead.errors import ConflictError, UnavailableError
from bulkhead.ledger.tables import Phase
from bulkhead.operators import insistence
from bulkhead.plugins.deadlines import RunParamDeadline, isolate_on_deadline, rollback_on_deadline
from tests.rollouts import advance, promote, request

OWNER = "airflow:release/run"


def _context(state: str = "running", deadline: str = "d1") -> dict[str, Any]:
    return {
        "dag_run": {"dag_id": "release", "dag_run_id": "run", "state": state},
        "deadline": {"id": deadline, "deadline_time": "2026-11-24T10:00:00Z"},
    }


def _fire(callback: AsyncCallback, context: dict[str, Any] | None) -> Any:
    """As the triggerer does: by path, with the arguments as JSON gives them."""
    function = import_string(callback.path)
    return asyncio.run(function(**json.loads(json.dumps(callback.kwargs)), context=context))


def test_it_takes_back_what_the_late_run_has_in_progress_and_returns_none(control: Control) -> None:
    late = request(control.ledger, "a", owner=OWNER)
    other = request(control.ledger, "b", service="letters", owner="airflow:release/other")
    assert _fire(rollback_on_deadline(reason="too slow"), _context()) is None
    now = control.ledger.rollouts.get(late.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, "too slow of 2026-11-24 10:00:00 UTC")
    assert control.ledger.rollouts.get(other.id).phase is Phase.REQUESTED


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("2026-11-24T12:00:00+02:00", "2026-11-24 10:00:00 UTC"),
        ("Tue, 24 Nov 2026", "'Tue, 24 Nov 2026'"),
        ("0001-01-01T00:00:00+14:00", "'0001-01-01T00:00:00+14:00'"),
        (None, "None"),
    ],
)
def test_a_time_that_cannot_be_read_takes_the_release_back_all_the_same(
    control: Control, at: str | None, message: str
) -> None:
    late = request(control.ledger, "a", owner=OWNER)
    context = _context()
    context["deadline"]["deadline_time"] = at
    _fire(rollback_on_deadline(reason="too slow"), context)
    now = control.ledger.rollouts.get(late.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, f"too slow of {message}")


def test_run_again_from_the_start_it_does_nothing_more(control: Control) -> None:
    rollout = request(control.ledger, "a", owner=OWNER)
    for _ in range(3):
        _fire(rollback_on_deadline(), _context())
    assert len(control.ledger.events.select(rollout.id, "rollback")) == 1


def test_it_also_fires_after_the_run_has_failed_and_does_no_harm(control: Control) -> None:
    _fire(rollback_on_deadline(), _context("failed"))
    assert control.ledger.rollouts.latest() == []


def test_a_run_that_succeeded_is_left_alone(control: Control) -> None:
    rollout = request(control.ledger, "a", owner=OWNER)
    _fire(rollback_on_deadline(), _context("success"))
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.REQUESTED


def test_with_a_service_what_the_run_has_promoted_already_is_left_again(control: Control) -> None:
    old = promote(control.ledger, "old")
    late = advance(control.ledger, request(control.ledger, "a", owner=OWNER), Phase.PROMOTED)
    assert _fire(rollback_on_deadline(), _context()) is None
    assert control.ledger.rollouts.active() == []
    for _ in range(2):
        assert _fire(rollback_on_deadline("digits", "too slow"), _context(deadline="d2")) is None
    (returning,) = control.ledger.rollouts.active()
    assert (returning.revision_id, returning.stable_id) == (old.revision_id, late.revision_id)


def test_with_a_service_where_another_run_has_released_since_nothing_is_left(control: Control) -> None:
    promote(control.ledger, "old")
    advance(control.ledger, request(control.ledger, "a", owner=OWNER), Phase.PROMOTED)
    promote(control.ledger, "newer")
    _fire(rollback_on_deadline("digits"), _context())
    assert control.ledger.rollouts.active() == []


def test_a_late_runs_revision_is_isolated(control: Control) -> None:
    promote(control.ledger, "old")
    late = request(control.ledger, "a", owner=OWNER)
    for _ in range(2):
        assert _fire(isolate_on_deadline("digits", "too slow"), _context()) is None
    (isolated,) = control.ledger.isolations.in_force()
    assert (isolated.revision_id, isolated.reason) == (late.revision_id, "too slow of 2026-11-24 10:00:00 UTC")
    assert control.ledger.rollouts.get(late.id).phase is Phase.RESTORING


def test_a_late_run_that_released_nothing_isolates_nothing_and_is_refused_from_then_on(control: Control) -> None:
    _fire(isolate_on_deadline("digits"), _context())
    assert control.ledger.isolations.in_force() == []
    with pytest.raises(ConflictError, match="was withdrawn"):
        request(control.ledger, "a", owner=OWNER)


def test_it_nudges_the_reconciler(control: Control) -> None:
    _fire(rollback_on_deadline(), _context())
    assert (control.settings.home / "wake" / "wake").exists()


def test_without_a_context_it_says_what_is_wrong(control: Control) -> None:
    with pytest.raises(ValueError, match="call it through a deadline"):
        _fire(rollback_on_deadline(), None)


def test_a_ledger_that_is_away_is_an_error_in_the_triggerers_log_and_not_silence(
    control: Control, no_waiting: None, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr(insistence, "stop_after_delay", lambda _: stop_after_attempt(2))
    (tmp_path / "no-folder").touch()
    monkeypatch.setenv("BULKHEAD_LEDGER_URL", f"sqlite:///{tmp_path}/no-folder/ledger.db")
    with pytest.raises(UnavailableError):
        _fire(rollback_on_deadline(), _context())


def test_airflow_can_import_and_store_the_callback() -> None:
    alert = DeadlineAlert(
        reference=RunParamDeadline("deadline_s", 900), interval=timedelta(0), callback=rollback_on_deadline()
    )
    assert alert.callback.path == "bulkhead.plugins.deadlines.roll_back_late"


# The reference


def test_the_reference_survives_serialisation() -> None:
    reference = RunParamDeadline("limit_s", 60.0)
    assert RunParamDeadline.deserialize_reference(reference.serialize_reference()) == reference


_NO_TIMES = ["soon", None, -5, 0, float("nan"), 10**400, [30]]
"""What a run may have set and no scheduler may fall over: the default counts."""


@pytest.mark.parametrize(
    ("conf", "seconds"),
    [({"deadline_s": 30}, 30), ({}, 900), (None, 900), *(({"deadline_s": wrong}, 900) for wrong in _NO_TIMES)],
)
def test_a_runs_deadline_is_its_params_seconds_after_it_was_queued(conf: dict[str, Any] | None, seconds: int) -> None:
    queued = datetime(2026, 11, 24, 10, tzinfo=UTC)
    run = SimpleNamespace(queued_at=queued, run_after=queued, conf=conf)
    session = SimpleNamespace(scalar=lambda _: run)
    found = RunParamDeadline("deadline_s", 900)._evaluate_with(session=session, dag_id="d", run_id="r")
    assert found == queued + timedelta(seconds=seconds)


def test_a_run_that_does_not_exist_has_no_deadline() -> None:
    session = SimpleNamespace(scalar=lambda _: None)
    assert RunParamDeadline()._evaluate_with(session=session, dag_id="d", run_id="r") is None
