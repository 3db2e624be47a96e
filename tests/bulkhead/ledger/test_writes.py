"""What each write of the ledger leaves, column by column: on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from bulkhead.errors import BusyError, ConflictError, FencedError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Base, Event, Intent, Phase, Rollout, Service
from tests.rollouts import advance, promote, request

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
PLAN = {"steps": [50, 100]}
REVISION = {
    "id": "digits-1",
    "service": "digits",
    "model_name": "model",
    "model_uri": "models:/m-1",
    "image": "image",
    "serve": {"command": ["serve"]},
    "evidence": {},
}


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """One whose clock goes on by a second at each poll."""
    times = (NOW + timedelta(seconds=number) for number in range(10_000))
    made = Ledger(ledger_url, lambda: next(times))
    yield made
    made.engine.dispose()


def _columns(ledger: Ledger, table: type[Base]) -> list[dict[str, Any]]:
    with ledger._reading() as session:
        rows = session.scalars(select(table).order_by(table.id)).all()  # type: ignore[attr-defined]
    return [{column.name: getattr(row, column.name) for column in table.__table__.columns} for row in rows]


def _wish(intent: dict[str, Any]) -> dict[str, Any]:
    """An intent without what the ledger adds to it."""
    return {name: value for name, value in intent.items() if name not in ("id", "created_at")}


def _ask(ledger: Ledger, **more: Any) -> Rollout:
    asked = {"key": "k", "requested_by": "deploy", "reason": "better"}
    named = Request(**{name: more.pop(name, value) for name, value in asked.items()})
    return ledger.rollouts.request(REVISION, PLAN, named, **{"owner": "run", **more})


def test_a_wish_for_a_rollout(ledger: Ledger) -> None:
    rollout = _ask(ledger)
    (intent,) = _columns(ledger, Intent)
    assert _wish(intent) == {
        "key": "k",
        "kind": "rollout",
        "service": "digits",
        "owner": "run",
        "target": None,
        "requested_by": "deploy",
        "reason": "better",
        "rollout_id": rollout.id,
    }
    (row,) = _columns(ledger, Rollout)
    empty = (
        "window",
        "reason",
        "decision",
        "exposed_at",
        "decided_at",
        "contained_at",
        "ended_at",
        "stable_id",
        "trace",
    )
    assert {name: value for name, value in row.items() if not name.endswith("_at") and name not in empty} == {
        "id": rollout.id,
        "key": "k",
        "service": "digits",
        "owner": "run",
        "revision_id": "digits-1",
        "generation": 1,
        "sequence": 1,
        "phase": Phase.REQUESTED,
        "step": 0,
        "plan": PLAN,
    }
    assert all(row[name] is None for name in empty)
    assert NOW <= row["created_at"] == row["phase_at"] <= intent["created_at"]
    (event,) = _columns(ledger, Event)
    assert (event["service"], event["rollout_id"], event["kind"]) == ("digits", rollout.id, "requested")
    assert event["data"] == {"by": "deploy", "revision": "digits-1"}


def test_a_wish_without_a_reason_has_none(ledger: Ledger) -> None:
    ledger.rollouts.request(REVISION, PLAN, Request("k", "", "deploy"), owner="run")
    assert [column["reason"] for column in _columns(ledger, Intent)] == [""]


def test_the_next_wish_is_of_the_next_generation_and_knows_the_stable_revision(ledger: Ledger) -> None:
    advance(ledger, _ask(ledger), Phase.PROMOTED)
    again = ledger.rollouts.request(
        {**REVISION, "id": "digits-2"}, PLAN, Request("k2", "better", "deploy"), owner="run"
    )
    assert (again.generation, again.stable_id, again.phase) == (2, "digits-1", Phase.REQUESTED)
    assert ledger.services.get("digits").generation == 2


def test_the_stable_revision_is_promoted_at_once(ledger: Ledger) -> None:
    advance(ledger, _ask(ledger), Phase.PROMOTED)
    again = _ask(ledger, key="again")
    assert (again.phase, again.ended_at, again.reason) == (
        Phase.PROMOTED,
        again.phase_at,
        "it is the stable revision already",
    )


@pytest.mark.parametrize("cleared", [False, True])
def test_a_withdrawn_owner_is_refused_unless_a_person_asks_again(ledger: Ledger, cleared: bool) -> None:
    assert ledger.rollouts.withdraw("run", Request("w", "late", "deadline")) == []
    if cleared:
        assert _ask(ledger, cleared=True).phase is Phase.REQUESTED
    else:
        with pytest.raises(ConflictError, match="late"):
            _ask(ledger)
        assert _columns(ledger, Rollout) == []
    withdrawal = _columns(ledger, Intent)[0]
    assert (withdrawal["kind"], withdrawal["owner"], withdrawal["rollout_id"]) == ("withdraw", "run", None)


def test_a_service_that_is_busy_is_left_as_it_is(ledger: Ledger) -> None:
    rollout = _ask(ledger)
    with pytest.raises(BusyError, match=f"^service 'digits': rollout {rollout.id} of .* is requested for run"):
        _ask(ledger, key="other", owner="other")
    assert (ledger.services.get("digits").generation, len(_columns(ledger, Intent))) == (1, 1)


def test_a_wish_to_go_back(ledger: Ledger) -> None:
    rollout = advance(ledger, _ask(ledger), Phase.ANALYSING)
    request = Request("b", "it is slow", "a person")
    asked = ledger.rollouts.request_rollback(request, rollout_id=rollout.id)
    assert asked.rollout is not None and asked.rollout.id == rollout.id
    intent = _columns(ledger, Intent)[-1]
    assert intent["id"] == asked.intent_id
    assert _wish(intent) == {
        "key": "b",
        "kind": "rollback",
        "service": "digits",
        "owner": None,
        "target": None,
        "requested_by": "a person",
        "reason": "it is slow",
        "rollout_id": rollout.id,
    }
    now = ledger.rollouts.get(rollout.id)
    assert (now.phase, now.reason, now.decision) == (Phase.RESTORING, "it is slow", {"by": "a person"})
    assert (now.generation, now.sequence) == (rollout.generation + 1, rollout.sequence + 1)
    assert now.decided_at == now.phase_at and now.phase_at > rollout.phase_at
    (event,) = ledger.events.select(rollout.id, "rollback")
    assert (event.service, event.data) == ("digits", {"reason": "it is slow", "by": "a person"})
    again = ledger.rollouts.request_rollback(request, rollout_id=rollout.id)
    assert (again.intent_id, again.rollout and again.rollout.id) == (asked.intent_id, rollout.id)


def test_a_wish_to_go_back_where_nothing_is_in_progress_is_kept_all_the_same(ledger: Ledger) -> None:
    request = Request("b", "it is slow", "a person")
    asked = ledger.rollouts.request_rollback(request, service="digits")
    assert asked.rollout is None
    (intent,) = _columns(ledger, Intent)
    assert (intent["service"], intent["rollout_id"], intent["kind"]) == ("digits", None, "rollback")
    assert ledger.rollouts.request_rollback(request, service="digits") == asked


def test_a_wish_to_go_back_takes_the_rollout_that_it_names_and_no_other(ledger: Ledger) -> None:
    rollouts = [request(ledger, "a", service=service, key=service) for service in ("digits", "letters")]
    by_id = ledger.rollouts.request_rollback(Request("1", "", "a person"), rollout_id=rollouts[1].id)
    assert by_id.rollout is not None and by_id.rollout.id == rollouts[1].id
    assert [ledger.rollouts.get(rollout.id).phase for rollout in rollouts] == [Phase.REQUESTED, Phase.RESTORING]
    by_service = ledger.rollouts.request_rollback(Request("2", "", "a person"), service="digits")
    assert by_service.rollout is not None and by_service.rollout.id == rollouts[0].id


def test_a_withdrawal(ledger: Ledger) -> None:
    mine, other = request(ledger, "a", owner="run"), request(ledger, "a", service="letters", owner="other")
    (taken,) = ledger.rollouts.withdraw("run", Request("w", "late", "deadline"))
    assert (taken.id, taken.phase, taken.decision) == (mine.id, Phase.RESTORING, {"by": "deadline"})
    assert taken.reason == "late"
    assert ledger.rollouts.get(other.id).phase is Phase.REQUESTED
    intent = _columns(ledger, Intent)[-1]
    assert _wish(intent) == {
        "key": "w",
        "kind": "withdraw",
        "service": None,
        "owner": "run",
        "target": None,
        "requested_by": "deadline",
        "reason": "late",
        "rollout_id": None,
    }


def test_a_step_sets_what_it_is_told_and_when(ledger: Ledger) -> None:
    rollout = _ask(ledger)
    moved = ledger.rollouts.transition(rollout, Phase.SHIFTING, "shifting", {"weight": 50}, step=1, exposed_at=NOW)
    assert (moved.phase, moved.sequence, moved.step, moved.exposed_at) == (Phase.SHIFTING, 2, 1, NOW)
    assert moved.phase_at > rollout.phase_at and moved.ended_at is None
    (event,) = ledger.events.select(rollout.id, "shifting")
    assert (event.service, event.rollout_id, event.data) == ("digits", rollout.id, {"weight": 50})
    with pytest.raises(FencedError, match=f"^rollout {rollout.id} has moved on since sequence 1$"):
        ledger.rollouts.transition(rollout, Phase.SHIFTING, "shifting", {})
    with pytest.raises(FencedError, match=f"^rollout {rollout.id} has moved on since sequence 1$"):
        ledger.rollouts.abort(rollout, "late", {})
    ended = ledger.rollouts.transition(moved, Phase.PROMOTED, "promoted", {})
    assert ended.ended_at == ended.phase_at


def test_a_revision_is_stable_when_the_one_before_is_being_retired_and_not_earlier(ledger: Ledger) -> None:
    rollout = advance(ledger, _ask(ledger), Phase.SHIFTING)
    assert ledger.services.get("digits").stable_revision is None
    ledger.rollouts.transition(rollout, Phase.RETIRING, "retiring", {})
    assert ledger.services.get("digits").stable_revision == "digits-1"


def test_a_decision_to_go_back(ledger: Ledger) -> None:
    rollout = advance(ledger, _ask(ledger), Phase.ANALYSING)
    turned = ledger.rollouts.abort(rollout, "25 % failed", {"rule": "errors"})
    assert (turned.reason, turned.decision, turned.sequence) == (
        "25 % failed",
        {"rule": "errors"},
        rollout.sequence + 1,
    )
    (event,) = ledger.events.select(rollout.id, "rollback")
    assert event.data == {"reason": "25 % failed", "rule": "errors"}


def test_a_repair_of_a_service_with_a_rollout_in_progress(ledger: Ledger) -> None:
    rollout = _ask(ledger)
    assert ledger.services.new_generation(ledger.services.get("digits"), "its server died") == 2
    moved = ledger.rollouts.get(rollout.id)
    assert (moved.generation, moved.sequence) == (2, rollout.sequence + 1)
    (event,) = ledger.events.select(kind="repair")
    assert (event.service, event.rollout_id) == ("digits", rollout.id)
    assert event.data == {"why": "its server died", "generation": 2}


def test_a_repair_of_a_service_without_one_may_have_a_kind_of_its_own(ledger: Ledger) -> None:
    done = promote(ledger, "a")
    assert ledger.services.new_generation(ledger.services.get("digits"), "its node is gone", "moved") == 2
    (event,) = ledger.events.select(kind="moved")
    assert (event.rollout_id, event.data["generation"]) == (None, 2)
    assert ledger.rollouts.get(done.id).generation == 1
    with pytest.raises(FencedError, match=r"^service digits: digits-\w+ is stable, no more what was read$"):
        ledger.services.new_generation(Service(name="digits", generation=2, stable_revision="digits-0"), "again")


def test_events_of_a_rollout_and_of_a_service(ledger: Ledger) -> None:
    rollout = _ask(ledger)
    ledger.events.append(rollout, "waiting", {"for": "a node"})
    ledger.events.record("digits", "note", {"from": "a person"})
    waiting, note = _columns(ledger, Event)[-2:]
    assert (waiting["service"], waiting["rollout_id"], waiting["data"]) == ("digits", rollout.id, {"for": "a node"})
    assert (note["service"], note["rollout_id"], note["kind"]) == ("digits", None, "note")
    assert note["data"] == {"from": "a person"} and note["at"] > waiting["at"] > NOW


def test_a_version_that_another_has_is_refused(ledger: Ledger) -> None:
    _ask(ledger)
    ledger.revisions.set_model_version("digits-1", "3")
    ledger.revisions.set_model_version("digits-1", "3")
    with pytest.raises(ConflictError, match=r"^revision digits-1 is version 3, not 4$"):
        ledger.revisions.set_model_version("digits-1", "4")
    assert ledger.revisions.get("digits-1").model_version == "3"
