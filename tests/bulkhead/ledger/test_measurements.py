"""What was measured of rollouts is kept, bounded, and breaks nothing."""

import pytest

from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.measurements import RELEASES_KEPT
from tests.hostile import NASTY
from tests.rollouts import promote, request


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    return Ledger(ledger_url)


def test_those_of_a_rollout_are_read_in_their_order(ledger: Ledger) -> None:
    one, other = request(ledger, "one"), request(ledger, "other", service="words")
    for count in range(3):
        ledger.measurements.append(one, {"window_s": count})
        ledger.measurements.append(other, {"window_s": -count})
    assert [measured.numbers["window_s"] for measured in ledger.measurements.of(one.id)] == [0, 1, 2]
    assert ledger.measurements.of(77) == []


def test_those_of_a_services_latest_releases_are_kept(ledger: Ledger) -> None:
    rollouts = [promote(ledger, f"{number}") for number in range(RELEASES_KEPT + 2)]
    other = promote(ledger, "other", service="words")
    for rollout in (*rollouts, other):
        ledger.measurements.append(rollout, {"window_s": 1})
    ledger.measurements.drop_old("digits")
    kept = [bool(ledger.measurements.of(rollout.id)) for rollout in rollouts]
    assert kept == [False, False, *[True] * RELEASES_KEPT]
    ledger.measurements.drop_old("words")
    assert ledger.measurements.of(other.id)


@pytest.mark.parametrize("text", NASTY)
def test_a_status_that_a_stranger_wrote_is_kept(ledger: Ledger, text: str) -> None:
    rollout = request(ledger, "one")
    ledger.measurements.append(rollout, {"candidate": {"statuses": {text: 1}}})
    assert len(ledger.measurements.of(rollout.id)) == 1
