"""How far a ledger has come: which part of it moves with which write."""

from collections.abc import Callable

import pytest

from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.changes import Part
from bulkhead.ledger.fleet import NodeStand
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from tests.rollouts import advance, request
from tests.worlds import Clock

Write = Callable[[Ledger, Rollout], object]

WRITES: dict[str, tuple[Write, Part]] = {
    "a request": (lambda ledger, _: request(ledger, "b", service="other"), Part.EVENTS),
    "a step": (lambda ledger, rollout: advance(ledger, rollout, Phase.REGISTERED), Part.EVENTS),
    "a rollback": (lambda ledger, rollout: ledger.rollouts.abort(rollout, "it fails", {}), Part.EVENTS),
    "an isolation": (
        lambda ledger, rollout: ledger.isolations.isolate(
            rollout.revision_id, Request("i", "it leaks", "ada"), levels=[IsolationLevel.MODEL]
        ),
        Part.EVENTS,
    ),
    "a measurement": (lambda ledger, rollout: ledger.measurements.append(rollout, {"window_s": 1}), Part.MEASUREMENTS),
    "a look at the fleet": (lambda ledger, _: ledger.fleet.remember({}, [NodeStand("a")]), Part.FLEET),
    "nothing": (lambda ledger, _: ledger.overview.services(), Part(0)),
}


@pytest.mark.parametrize(("write", "part"), WRITES.values(), ids=WRITES)
def test_a_write_moves_its_part_and_no_other(ledger_url: str, write: Write, part: Part) -> None:
    clock = Clock()
    ledger = Ledger(ledger_url, clock)
    rollout = request(ledger, "a")
    before = ledger.overview.changes()
    clock.pass_by(1)
    write(ledger, rollout)
    after = ledger.overview.changes()
    assert {moved for moved in Part if before[moved] != after[moved]} == set(part)
