"""Which revisions have traffic, on SQLite and on PostgreSQL."""

from datetime import UTC, datetime

import pytest

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase
from tests.rollouts import advance, promote, request


def test_nothing_serves_before_the_first_release(ledger: Ledger) -> None:
    assert ledger.revisions.serving() == frozenset()


def test_a_rollouts_revision_serves_from_when_it_is_asked_for_beside_the_stable_one(ledger: Ledger) -> None:
    first = promote(ledger, "a")
    second = request(ledger, "b")
    assert ledger.revisions.serving() == {first.revision_id, second.revision_id}
    advance(ledger, second, Phase.PROMOTED)
    assert ledger.revisions.serving() == {second.revision_id}


def test_a_revision_that_is_contained_serves_no_more_though_its_rollout_goes_on(ledger: Ledger) -> None:
    first = promote(ledger, "a")
    second = ledger.rollouts.abort(request(ledger, "b"), "it fails", {})
    assert second.revision_id in ledger.revisions.serving()
    contained = ledger.rollouts.transition(
        second, second.phase, "contained", {}, step=second.step, contained_at=datetime.now(UTC)
    )
    assert contained.ended_at is None
    assert ledger.revisions.serving() == {first.revision_id}


def test_one_that_has_ended_serves_only_where_it_is_stable(ledger: Ledger) -> None:
    first = promote(ledger, "a")
    second = ledger.rollouts.abort(request(ledger, "b"), "it fails", {})
    advance(ledger, second, Phase.ROLLED_BACK)
    assert ledger.revisions.serving() == {first.revision_id}


def test_services_are_told_apart(ledger: Ledger) -> None:
    digits, letters = promote(ledger, "a"), promote(ledger, "b", service="letters")
    going = request(ledger, "c", service="letters")
    assert ledger.revisions.serving() == {digits.revision_id, letters.revision_id, going.revision_id}
    assert ledger.revisions.serving("digits") == {digits.revision_id}
    assert ledger.revisions.serving("letters") == {letters.revision_id, going.revision_id}
    assert ledger.revisions.serving("nobody") == frozenset()


def test_before_one_that_serves_again_is_what_was_before_it_at_first(ledger: Ledger) -> None:
    first, second, third = (promote(ledger, name) for name in "abc")
    advance(ledger, request(ledger, "b", owner="again"), Phase.PROMOTED)  # the third was bad
    assert ledger.services.get("digits").stable_revision == second.revision_id != third.revision_id
    assert ledger.revisions.previous("digits") == first.revision_id


def test_a_revision_is_read_as_it_was_written(ledger: Ledger) -> None:
    rollout = request(ledger, "a")
    assert ledger.revisions.get(rollout.revision_id).model_uri == "models:/a"
    ledger.revisions.set_model_version(rollout.revision_id, "3")
    assert ledger.revisions.get(rollout.revision_id).model_version == "3"
    with pytest.raises(ConflictError, match=rf"^revision {rollout.revision_id} is version 3, not 4$"):
        ledger.revisions.set_model_version(rollout.revision_id, "4")
    with pytest.raises(NotFoundError, match="no revision 'x'"):
        ledger.revisions.get("x")
