"""How far a ledger has come: which topic of it moves with which write."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.changes import EVENTS, FLEET, events_of, measurements_of
from bulkhead.ledger.fleet import DeviceStand, NodeStand
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from tests.rollouts import advance, request
from tests.worlds import Clock

Write = Callable[[Ledger, Rollout], object]

DIGITS = {EVENTS, events_of("digits")}


def _look(ledger: Ledger, since: datetime = datetime(2026, 11, 1, tzinfo=UTC), **node: object) -> None:
    device = DeviceStand("GPU-1", "a", "H100", "healthy", "", "", "", "", since)
    ledger.fleet.remember({"a": {}}, [NodeStand("a", **node)], [device])  # type: ignore[arg-type]


WRITES: dict[str, tuple[Write, set[str]]] = {
    "a request": (lambda ledger, _: request(ledger, "b", service="other"), {EVENTS, events_of("other")}),
    "a step": (lambda ledger, rollout: advance(ledger, rollout, Phase.REGISTERED), DIGITS),
    "a rollback": (lambda ledger, rollout: ledger.rollouts.abort(rollout, "it fails", {}), DIGITS),
    "an isolation": (
        lambda ledger, rollout: ledger.isolations.isolate(
            rollout.revision_id, Request("i", "it leaks", "ada"), levels=[IsolationLevel.MODEL]
        ),
        DIGITS,
    ),
    "a measurement": (
        lambda ledger, rollout: ledger.measurements.append(rollout, {"window_s": 1}),
        {measurements_of(1)},
    ),
    "a look that finds the same": (lambda ledger, _: _look(ledger), set()),
    "a device that stands otherwise": (lambda ledger, _: _look(ledger, datetime(2026, 11, 2, tzinfo=UTC)), {FLEET}),
    "a node that is cordoned": (lambda ledger, _: _look(ledger, cordoned=True), {FLEET}),
    "one more node": (lambda ledger, _: ledger.fleet.remember({}, [NodeStand("b")]), {FLEET}),
    "nothing": (lambda ledger, _: ledger.overview.service("digits"), set()),
}


@pytest.mark.parametrize(("write", "topics"), WRITES.values(), ids=WRITES)
def test_a_write_moves_its_topics_and_no_other(ledger_url: str, write: Write, topics: set[str]) -> None:
    clock = Clock()
    ledger = Ledger(ledger_url, clock)
    rollout = request(ledger, "a")
    _look(ledger)
    before = ledger.overview.changes(ledger.overview.changes())
    clock.pass_by(1)
    write(ledger, rollout)
    after = ledger.overview.changes(before)
    asked_of = {EVENTS, FLEET, events_of("digits"), events_of("other"), measurements_of(1), measurements_of(2)}
    assert {topic for topic in asked_of if before.get(topic) != after.get(topic)} == topics


def test_an_empty_ledger_has_come_nowhere(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    changes = ledger.overview.changes()
    assert changes == ledger.overview.changes(changes)


def test_the_marks_of_what_was_measured_long_ago_are_dropped(ledger_url: str) -> None:
    ledger = Ledger(ledger_url)
    changes = ledger.overview.changes()
    rollouts = [request(ledger, "a", service=f"s{number}") for number in range(3)]
    for rollout in rollouts:
        ledger.measurements.append(rollout, {"window_s": 1})
    many = {measurements_of(number): "0" for number in range(10, 509)}
    kept = ledger.overview.changes({**changes, **many})
    assert all(measurements_of(rollout.id) in kept for rollout in rollouts)
    assert sum(topic.startswith(measurements_of("")) for topic in kept) == 500
