"""The course of a release, as a picture shows it."""

from datetime import timedelta

import pytest

from bulkhead.events import EventKind
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase
from bulkhead.web.reader import LedgerReader
from tests.rollouts import promote, request
from tests.worlds import Clock

ARM = {"requests": 12, "failures": 3, "slow": 0, "timed": 12, "p99_ms": [50, 100]}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Ledger:
    return Ledger(ledger_url, clock)


def test_a_release_that_was_rolled_back(ledger: Ledger, clock: Clock) -> None:
    promote(ledger, "old")
    begun = clock()
    rollout = request(ledger, "new")
    for phase, data in ((Phase.LAUNCHED, {}), (Phase.SHIFTING, {}), (Phase.ANALYSING, {"step": 0, "weight": 50})):
        clock.pass_by(1)
        rollout = ledger.rollouts.transition(rollout, phase, str(phase), data)
    clock.pass_by(1)
    ledger.measurements.append(
        rollout, {"candidate": ARM, "stable": None, "window_s": 1.0, "evidence": {"errors": 0.4}}
    )
    clock.pass_by(1)
    upper = {**ARM, "p99_ms": [100, "inf"]}
    numbers = {"candidate": {**upper, "failures": 9}, "stable": upper, "window_s": 2.0, "evidence": {"errors": 1.2}}
    ledger.rollouts.abort(rollout, "it fails", {"index": 0, "rule": "errors", "numbers": numbers})
    clock.pass_by(1)
    back = ledger.rollouts.get(rollout.id)
    ledger.rollouts.transition(back, Phase.UNALIASING, "unaliasing", {}, contained_at=clock())

    course = LedgerReader(ledger).course(rollout.id)
    at = [(point.at - begun, point.percent) for point in course.split]
    assert at == [(_s(0), 0), (_s(3), 50), (_s(6), 0)]
    assert [(moment.at - begun, moment.words) for moment in course.moments] == [(_s(5), "rollback")]
    first, last = course.measurements
    assert first.candidate is not None and (first.candidate.failures, first.candidate.p99_ms) == (3, 100)
    assert (first.step, first.stable, first.evidence) == (1, None, {"errors": 0.4})
    assert last.candidate is not None and (last.candidate.failures, last.candidate.p99_ms) == (9, None)
    assert last.evidence == {"errors": 1.2} and last.at == clock() - _s(1)


def test_a_release_that_was_promoted(ledger: Ledger) -> None:
    rollout = promote(ledger, "new")
    ledger.events.append(rollout, EventKind.PASSED, {"index": 1, "rule": "not-judged", "reason": "the plan asks not"})
    ledger.events.append(rollout, EventKind.APPROVED, {"step": 1, "by": "ada", "reason": ""})
    ledger.events.append(rollout, EventKind.SKIPPING, {"step": 0, "by": "ada", "reason": ""})
    course = LedgerReader(ledger).course(rollout.id)
    words = ["stable", "step 2 passed", "step 2 approved", "to the last step"]
    assert [moment.words for moment in course.moments] == words
    assert [point.percent for point in course.split] == [0, 100] and course.measurements == []


def _s(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)
