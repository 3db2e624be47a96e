"""Every test here runs on SQLite and on PostgreSQL."""

import pytest

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from tests.rollouts import promote, request, revision


def _isolate(ledger: Ledger, revision_id: str, key: str = "k") -> None:
    ledger.isolations.isolate(revision_id, Request(key, "it answers NaN", "a test"))


def test_what_is_isolated_is_refused_with_the_reason_and_the_way_out(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    with pytest.raises(ConflictError, match=r"is isolated since .*: it answers NaN; run 'bulkhead unisolate digits-"):
        request(ledger, "a", owner="again")
    assert [isolation.revision_id for isolation in ledger.isolations.in_force()] == [rollout.revision_id]


def test_another_revision_of_the_same_model_is_refused_as_well(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    with pytest.raises(ConflictError, match="models:/a"):
        request(ledger, "a", service="letters", owner="elsewhere")
    assert request(ledger, "b").revision_id == revision("b").id


def test_it_ends_by_name_and_only_then(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    ledger.isolations.unisolate(rollout.revision_id, Request("r", "mended", "a test"))
    assert ledger.isolations.in_force() == []
    assert request(ledger, "a", owner="again").revision_id == rollout.revision_id
    assert [event.kind for event in ledger.events.select(service="digits")][-3:-1] == ["isolate", "unisolate"]


def test_the_first_reason_stays_and_a_wish_is_recorded_once(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    _isolate(ledger, rollout.revision_id)
    ledger.isolations.isolate(rollout.revision_id, Request("other", "another", "a test"))
    assert [intent.reason for intent in ledger.intents.of_kind("isolate")] == ["it answers NaN", "another"]
    assert ledger.isolations.in_force("digits")[0].reason == "it answers NaN"
    assert ledger.isolations.in_force("letters") == []


def test_the_way_back_leaves_out_what_is_isolated(ledger: Ledger) -> None:
    first, second = promote(ledger, "a"), promote(ledger, "b")
    promote(ledger, "c")
    assert ledger.revisions.previous("digits") == second.revision_id
    _isolate(ledger, second.revision_id)
    assert ledger.revisions.previous("digits") == first.revision_id
    _isolate(ledger, first.revision_id, "other")
    with pytest.raises(NotFoundError, match="no earlier revision"):
        ledger.revisions.previous("digits")


def test_a_revision_that_does_not_exist_is_named(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no revision 'x'"):
        _isolate(ledger, "x")


# Levels


def test_by_default_the_model_is_isolated_as_well_and_traffic_always(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    assert [isolation.level for isolation in ledger.isolations.levels(rollout.revision_id)] == [
        IsolationLevel.TRAFFIC,
        IsolationLevel.MODEL,
    ]


def test_a_bad_image_does_not_keep_its_model_from_another_revision(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    ledger.isolations.isolate(rollout.revision_id, Request("k", "bad image", "a test"), levels=[IsolationLevel.POD])
    assert [isolation.level for isolation in ledger.isolations.levels(rollout.revision_id)] == [
        IsolationLevel.TRAFFIC,
        IsolationLevel.POD,
    ]
    assert request(ledger, "a", service="letters", owner="elsewhere").service == "letters"
    with pytest.raises(ConflictError, match="bad image"):
        request(ledger, "a", owner="again")


def test_a_further_level_is_added_and_those_in_force_keep_their_reason(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    ledger.isolations.isolate(rollout.revision_id, Request("m", "look at it", "a test"), levels=[IsolationLevel.POD])
    found = {isolation.level: isolation.reason for isolation in ledger.isolations.levels(rollout.revision_id)}
    assert found == {
        IsolationLevel.TRAFFIC: "it answers NaN",
        IsolationLevel.MODEL: "it answers NaN",
        IsolationLevel.POD: "look at it",
    }


def test_what_the_world_shows_is_written_once_and_with_an_event(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    for isolation in ledger.isolations.unapplied():
        assert ledger.isolations.mark_applied(isolation) and ledger.isolations.mark_applied(isolation)
    assert ledger.isolations.unapplied() == []
    assert [event.data["level"] for event in ledger.events.select(kind="isolated")] == ["traffic", "model"]
    ledger.isolations.unisolate(rollout.revision_id, Request("r", "mended", "a test"))
    for isolation in ledger.isolations.unapplied():
        assert ledger.isolations.mark_applied(isolation)
    assert ledger.isolations.unapplied() == []
    assert [event.data["level"] for event in ledger.events.select(kind="unisolated")] == ["traffic", "model"]


def test_who_isolates_while_it_is_ended_is_told_to_look_again(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    seen = ledger.isolations.unapplied()[0]
    ledger.isolations.unisolate(rollout.revision_id, Request("r", "mended", "a test"))
    assert not ledger.isolations.mark_applied(seen)
    assert {one.id for one in ledger.isolations.unapplied()} >= {seen.id}


def test_isolated_again_it_is_an_isolation_of_its_own(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    ledger.isolations.unisolate(rollout.revision_id, Request("r", "mended", "a test"))
    ledger.isolations.isolate(rollout.revision_id, Request("k2", "not mended", "a test"))
    assert [isolation.reason for isolation in ledger.isolations.in_force()] == ["not mended"]


def test_the_budget_bounds_how_many_are_isolated_at_once(ledger: Ledger) -> None:
    first, second = promote(ledger, "a"), promote(ledger, "b")
    elsewhere = promote(ledger, "c", service="letters")
    ledger.isolations.isolate(first.revision_id, Request("1", "bad", "a guard"), budget=1)
    with pytest.raises(ConflictError, match="1 revisions are isolated and the budget is 1"):
        ledger.isolations.isolate(second.revision_id, Request("2", "bad", "a guard"), budget=1)
    assert [intent.key for intent in ledger.intents.of_kind("isolate")] == ["1"]
    ledger.isolations.isolate(
        first.revision_id, Request("3", "bad", "a guard"), levels=[IsolationLevel.POD], budget=1
    )  # further levels of the same cost nothing
    ledger.isolations.isolate(elsewhere.revision_id, Request("4", "bad", "a guard"), budget=1)
    ledger.isolations.isolate(second.revision_id, Request("5", "bad", "ada"))
