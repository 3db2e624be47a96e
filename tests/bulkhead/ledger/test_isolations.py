"""Every test here runs on SQLite and on PostgreSQL."""

import pytest

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.ledger.ledger import Ledger
from bulkhead.rungs import Rung
from tests.rollouts import promote, request, revision


def _isolate(ledger: Ledger, revision_id: str, key: str = "k") -> None:
    ledger.isolate(revision_id, key=key, reason="it answers NaN", requested_by="a test")


def test_what_is_isolated_is_refused_with_the_reason_and_the_way_out(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    with pytest.raises(ConflictError, match=r"is isolated since .*: it answers NaN; run 'bulkhead unisolate digits-"):
        request(ledger, "a", owner="again")
    assert [one.revision_id for one in ledger.isolated()] == [rollout.revision_id]


def test_another_revision_of_the_same_model_is_refused_as_well(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    with pytest.raises(ConflictError, match="models:/a"):
        request(ledger, "a", service="letters", owner="elsewhere")
    assert request(ledger, "b").revision_id == revision("b").id


def test_it_is_released_by_name_and_only_then(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    ledger.unisolate(rollout.revision_id, key="r", reason="mended", requested_by="a test")
    assert ledger.isolated() == []
    assert request(ledger, "a", owner="again").revision_id == rollout.revision_id
    assert [event.kind for event in ledger.events(service="digits")][-3:-1] == ["isolate", "release"]


def test_the_first_reason_stays_and_a_wish_is_recorded_once(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    _isolate(ledger, rollout.revision_id)
    ledger.isolate(rollout.revision_id, key="other", reason="another", requested_by="a test")
    assert [intent.reason for intent in ledger.intents("isolate")] == ["it answers NaN", "another"]
    assert ledger.isolated("digits")[0].reason == "it answers NaN"
    assert ledger.isolated("letters") == []


def test_the_way_back_leaves_out_what_is_isolated(ledger: Ledger) -> None:
    first, second = promote(ledger, "a"), promote(ledger, "b")
    promote(ledger, "c")
    assert ledger.previous_revision("digits") == second.revision_id
    _isolate(ledger, second.revision_id)
    assert ledger.previous_revision("digits") == first.revision_id
    _isolate(ledger, first.revision_id, "other")
    with pytest.raises(NotFoundError, match="no earlier revision"):
        ledger.previous_revision("digits")


def test_a_revision_that_does_not_exist_is_named(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no revision 'x'"):
        _isolate(ledger, "x")


# Rungs


def test_by_default_the_model_is_isolated_as_well_and_traffic_always(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    assert [one.rung for one in ledger.isolations(rollout.revision_id)] == [Rung.TRAFFIC, Rung.MODEL]


def test_a_bad_image_does_not_keep_its_model_from_another_revision(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    ledger.isolate(rollout.revision_id, key="k", reason="bad image", requested_by="a test", rungs=[Rung.POD])
    assert [one.rung for one in ledger.isolations(rollout.revision_id)] == [Rung.TRAFFIC, Rung.POD]
    assert request(ledger, "a", service="letters", owner="elsewhere").service == "letters"
    with pytest.raises(ConflictError, match="bad image"):
        request(ledger, "a", owner="again")


def test_a_further_rung_is_added_and_those_in_force_keep_their_reason(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    ledger.isolate(rollout.revision_id, key="m", reason="look at it", requested_by="a test", rungs=[Rung.POD])
    found = {one.rung: one.reason for one in ledger.isolations(rollout.revision_id)}
    assert found == {Rung.TRAFFIC: "it answers NaN", Rung.MODEL: "it answers NaN", Rung.POD: "look at it"}


def test_what_the_world_shows_is_written_once_and_with_an_event(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    for isolation in ledger.unsettled_isolations():
        assert ledger.settle(isolation) and ledger.settle(isolation)
    assert ledger.unsettled_isolations() == []
    assert [one.data["rung"] for one in ledger.events(kind="isolated")] == ["traffic", "model"]
    ledger.unisolate(rollout.revision_id, key="r", reason="mended", requested_by="a test")
    for isolation in ledger.unsettled_isolations():
        assert ledger.settle(isolation)
    assert ledger.unsettled_isolations() == []
    assert [one.data["rung"] for one in ledger.events(kind="released")] == ["traffic", "model"]


def test_who_isolates_while_it_is_released_is_told_to_look_again(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    seen = ledger.unsettled_isolations()[0]
    ledger.unisolate(rollout.revision_id, key="r", reason="mended", requested_by="a test")
    assert not ledger.settle(seen)
    assert {one.id for one in ledger.unsettled_isolations()} >= {seen.id}


def test_isolated_again_it_is_an_isolation_of_its_own(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    ledger.unisolate(rollout.revision_id, key="r", reason="mended", requested_by="a test")
    ledger.isolate(rollout.revision_id, key="k2", reason="not mended", requested_by="a test")
    assert [one.reason for one in ledger.isolated()] == ["not mended"]


def test_the_budget_bounds_how_many_are_isolated_at_once(ledger: Ledger) -> None:
    first, second = promote(ledger, "a"), promote(ledger, "b")
    elsewhere = promote(ledger, "c", service="letters")
    wish = {"reason": "bad", "requested_by": "a guard", "budget": 1}
    ledger.isolate(first.revision_id, key="1", **wish)
    with pytest.raises(ConflictError, match="1 revisions are isolated and the budget is 1"):
        ledger.isolate(second.revision_id, key="2", **wish)
    assert [intent.key for intent in ledger.intents("isolate")] == ["1"]
    ledger.isolate(first.revision_id, key="3", rungs=[Rung.POD], **wish)  # further rungs of the same cost nothing
    ledger.isolate(elsewhere.revision_id, key="4", **wish)
    ledger.isolate(second.revision_id, key="5", reason="bad", requested_by="ada")
