"""Every test here runs on SQLite and on PostgreSQL."""

import pytest

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.ledger.ledger import Ledger
from tests.rollouts import promote, request, revision


def _isolate(ledger: Ledger, revision_id: str, key: str = "k") -> None:
    ledger.isolate(revision_id, key=key, reason="it answers NaN", requested_by="a test")


def test_what_is_isolated_is_refused_with_the_reason_and_the_way_out(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    with pytest.raises(ConflictError, match=r"is isolated since .*: it answers NaN; run 'bulkhead release digits-"):
        request(ledger, "a", owner="again")
    assert [one.id for one in ledger.isolated()] == [rollout.revision_id]


def test_another_revision_of_the_same_model_is_refused_as_well(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    with pytest.raises(ConflictError, match="models:/a"):
        request(ledger, "a", service="letters", owner="elsewhere")
    assert request(ledger, "b").revision_id == revision("b").id


def test_it_is_released_by_name_and_only_then(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    ledger.release(rollout.revision_id, key="r", reason="mended", requested_by="a test")
    assert ledger.isolated() == []
    assert request(ledger, "a", owner="again").revision_id == rollout.revision_id
    assert [event.kind for event in ledger.events(service="digits")][-3:-1] == ["isolate", "release"]


def test_the_first_reason_stays_and_a_wish_is_recorded_once(ledger: Ledger) -> None:
    rollout = promote(ledger, "a")
    _isolate(ledger, rollout.revision_id)
    _isolate(ledger, rollout.revision_id)
    ledger.isolate(rollout.revision_id, key="other", reason="another", requested_by="a test")
    assert [intent.reason for intent in ledger.intents("isolate")] == ["it answers NaN", "another"]
    assert ledger.isolated("digits")[0].isolated_for == "it answers NaN"
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
