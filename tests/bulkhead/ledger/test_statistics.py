"""The ledger in numbers, on SQLite and on PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest

from bulkhead.events import EventKind, Rule
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.leases import Leases
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import Target
from bulkhead.ledger.requests import Request
from bulkhead.ledger.statistics import BOUNDS_S, Statistics
from bulkhead.ledger.tables import Phase, Rollout
from tests.rollouts import advance, promote, request

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(ledger_url: str, clock: Clock) -> Ledger:
    return Ledger(ledger_url, clock)


def _rolled_back(ledger: Ledger, clock: Clock, name: str, detected_s: float, back_s: float) -> Rollout:
    """A rollout that had traffic, was decided against after so long, and was back after so long."""
    rollout = advance(ledger, request(ledger, name), Phase.SHIFTING)
    rollout = ledger.rollouts.transition(rollout, Phase.ANALYSING, "analysing", {}, step=0, exposed_at=clock())
    clock.now += timedelta(seconds=detected_s)
    rollout = ledger.rollouts.abort(rollout, "it fails", {"rule": Rule.ERRORS})
    clock.now += timedelta(seconds=back_s)
    rollout = ledger.rollouts.transition(rollout, Phase.UNALIASING, "unaliasing", {}, contained_at=clock())
    return advance(ledger, rollout, Phase.ROLLED_BACK)


def test_an_empty_ledger_has_none_of_anything(timed: Ledger) -> None:
    numbers = Statistics(timed.engine).read()
    assert (numbers.ended, numbers.in_progress, numbers.detection, numbers.rollback) == ({}, {}, {}, {})
    assert numbers.oldest == {"rollout": None, "isolation": None, "launch": None}
    assert (numbers.leases, numbers.isolations, numbers.launches, numbers.quarantines) == ({}, {}, 0, {})
    assert (numbers.quarantined, numbers.gate, numbers.services) == ({}, {}, [])


def test_the_gates_verdicts_are_counted_by_model(timed: Ledger) -> None:
    for model, passed in (("digits", True), ("digits", False), ("digits", False), ("words", True)):
        timed.events.record(None, EventKind.GATE_VERDICT, {"model_name": model, "passed": passed, "reason": ""})
    timed.events.record(None, EventKind.GATE_OVERRIDE, {"models": ["models:/digits/1"]})
    assert Statistics(timed.engine).read().gate == {
        ("digits", "passed"): 1,
        ("digits", "refused"): 2,
        ("words", "passed"): 1,
    }


def test_rollouts_are_counted_by_how_they_ended_and_what_decided(timed: Ledger, clock: Clock) -> None:
    promote(timed, "good")
    promote(timed, "better")
    _rolled_back(timed, clock, "bad", 3, 0.25)
    promote(timed, "other", service="words")
    ended = Statistics(timed.engine).read().ended
    assert ended == {
        ("digits", "promoted", ""): 2,
        ("digits", "rolled_back", "errors"): 1,
        ("words", "promoted", ""): 1,
    }


def test_how_long_it_took_to_detect_and_to_roll_back(timed: Ledger, clock: Clock) -> None:
    _rolled_back(timed, clock, "bad", 3, 0.25)
    _rolled_back(timed, clock, "worse", 45, 0.75)
    numbers = Statistics(timed.engine).read()
    detection, rollback = numbers.detection["digits"], numbers.rollback["digits"]
    assert (detection.count, rollback.count) == (2, 2)
    assert detection.sum_s == pytest.approx(48, abs=0.01) and rollback.sum_s == pytest.approx(1, abs=0.01)
    assert dict(zip(BOUNDS_S, detection.counts, strict=True)) == {
        bound: (bound >= 5) + (bound >= 60) for bound in BOUNDS_S
    }
    assert list(rollback.counts) == [1] + [2] * (len(BOUNDS_S) - 1)


def test_what_is_unfinished_has_an_age_and_what_goes_on_a_phase(timed: Ledger, clock: Clock) -> None:
    stable = promote(timed, "good")
    clock.now += timedelta(minutes=1)
    request(timed, "next")
    clock.now += timedelta(minutes=1)
    wish = Request("isolate", "it leaks", "a test")
    timed.isolations.isolate(stable.revision_id, wish, levels=(IsolationLevel.MODEL,))
    numbers = Statistics(timed.engine).read()
    assert numbers.in_progress == {("digits", "requested"): 1}
    assert numbers.oldest["rollout"] == NOW + timedelta(minutes=1)
    assert numbers.oldest["isolation"] == NOW + timedelta(minutes=2)
    assert numbers.isolations == {"traffic": 1, "model": 1}


def test_the_holder_of_a_lease_is_named(timed: Ledger) -> None:
    promote(timed, "good")
    leases = Leases(timed.engine, 5.0)
    leases.hold(timed.services.all())
    (holder,) = Statistics(timed.engine).read().leases.values()
    assert holder
    leases.release()
    assert Statistics(timed.engine).read().leases == {}


def test_quarantined_devices_are_counted_by_model_while_they_are_away(timed: Ledger) -> None:
    for name, size in (("GPU-1", 1), ("node-b", 8)):
        target = Target(name, "device" if size == 1 else "node", "node-b", "H100", size=size)
        timed.quarantines.start(
            target,
            reason="xid",
            evidence="Xid 79",
            action="reset",
            holder="a test",
            probation_s=60,
            evidence_at=NOW,
            budget=None,
        )
    numbers = Statistics(timed.engine).read()
    assert numbers.quarantined == {"H100": 9}
    assert numbers.quarantines == {("device", "held"): 1, ("node", "held"): 1}
    timed.quarantines.end("node-b", reason="mended", holder="a test")
    assert Statistics(timed.engine).read().quarantined == {"H100": 1}
