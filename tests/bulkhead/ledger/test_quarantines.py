"""Every test here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import QuarantineBudget, Quarantines, Target
from bulkhead.ledger.tables import Quarantine, QuarantinePhase

BEGIN = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **more: float) -> None:
        self.now += timedelta(**more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quarantines(ledger: Ledger, clock: Clock) -> Quarantines:
    return Quarantines(ledger.engine, clock)


def device(name: str = "GPU-1", node: str = "n1", size: int = 1, pool: str = "") -> Target:
    return Target(name, "device" if size == 1 else "node", node, "H100", pool, size)


def start(
    quarantines: Quarantines, clock: Clock, target: Target | None = None, budget: QuarantineBudget | None = None
) -> Quarantine:
    return quarantines.start(
        target or device(),
        reason="xid",
        evidence="Xid 79",
        action="reboot",
        holder="a test",
        probation_s=100,
        evidence_at=clock.now,
        budget=budget,
    )


def test_one_quarantine_a_target_and_the_first_reason_stays(quarantines: Quarantines, clock: Clock) -> None:
    first = start(quarantines, clock)
    assert start(quarantines, clock).id == first.id
    assert [
        (quarantine.target, quarantine.phase, quarantine.applied_phase) for quarantine in quarantines.open_ones()
    ] == [("GPU-1", QuarantinePhase.HELD, None)]


def test_what_the_world_shows_is_written_down(quarantines: Quarantines, clock: Clock) -> None:
    row = start(quarantines, clock)
    assert [one.id for one in quarantines.unapplied()] == [row.id]
    quarantines.mark_applied(row)
    assert quarantines.unapplied() == []


def test_the_first_is_within_any_budget_and_then_devices_count(quarantines: Quarantines, clock: Clock) -> None:
    budget = QuarantineBudget(devices=9)
    start(quarantines, clock, device("n1", "n1", size=8), budget)
    start(quarantines, clock, device("GPU-9", "n2"), budget)
    with pytest.raises(ConflictError, match="9 devices of H100 are in quarantine and the budget is 9"):
        start(quarantines, clock, device("GPU-10", "n3"), budget)
    assert len(quarantines.open_ones()) == 2
    assert start(quarantines, clock, device("GPU-10", "n3"), None).target == "GPU-10"  # a person has no budget


def test_the_last_node_of_a_pool_is_not_taken(quarantines: Quarantines, clock: Clock) -> None:
    start(quarantines, clock, device("GPU-1", "n1", pool="a"), QuarantineBudget(100, {"n2"}))
    with pytest.raises(ConflictError, match="n2 is the last of pool a"):
        start(quarantines, clock, device("GPU-2", "n2", pool="a"), QuarantineBudget(100, {"n1"}))
    # Another device of a node that is taken already takes nothing more.
    assert start(quarantines, clock, device("GPU-3", "n1", pool="a"), QuarantineBudget(100, set())).target == "GPU-3"


def test_two_at_once_do_not_overdraw_the_budget(quarantines: Quarantines, clock: Clock) -> None:
    start(quarantines, clock, device("GPU-0", "n0"))
    gate, refused = threading.Barrier(4), []

    def ask(number: int) -> None:
        gate.wait()
        try:
            start(quarantines, clock, device(f"GPU-{number}", f"n{number}"), QuarantineBudget(2))
        except ConflictError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(quarantines.open_ones()), len(refused)) == (2, 3)


def test_evidence_that_was_answered_begins_nothing(quarantines: Quarantines, clock: Clock) -> None:
    row, evidence = start(quarantines, clock), clock.now
    clock.forward(minutes=5)
    quarantines.end(row.target, reason="replaced", holder="a person")
    again = quarantines.start(
        device(), reason="xid", evidence="", action="", holder="", probation_s=100, evidence_at=evidence, budget=None
    )
    assert again.phase is QuarantinePhase.ENDED
    assert quarantines.open_ones() == []


def test_a_relapse_doubles_the_term_and_the_third_needs_a_person(quarantines: Quarantines, clock: Clock) -> None:
    terms = []
    for _ in range(4):
        clock.forward(hours=1)
        row = start(quarantines, clock)
        terms.append((row.probation_s, row.phase))
        quarantines.passed(row.target, "quick")
        quarantines.move(row, QuarantinePhase.PROBATION, "passed")
    held, person = QuarantinePhase.HELD, QuarantinePhase.MANUAL
    assert terms == [(100, held), (200, held), (400, held), (800, person)]


def test_relapses_count_after_a_release_and_are_forgotten_after_30_days(quarantines: Quarantines, clock: Clock) -> None:
    start(quarantines, clock)
    quarantines.end("GPU-1", reason="", holder="")
    clock.forward(days=1)
    assert start(quarantines, clock).relapses == 1
    quarantines.end("GPU-1", reason="", holder="")
    clock.forward(days=31)
    assert start(quarantines, clock).relapses == 0


def test_what_has_moved_on_is_not_moved_by_who_read_it_before(quarantines: Quarantines, clock: Clock) -> None:
    row = start(quarantines, clock)
    quarantines.end(row.target, reason="", holder="")
    assert not quarantines.move(row, QuarantinePhase.PROBATION, "late")
    assert quarantines.open_ones() == []


def test_what_is_not_in_quarantine_is_named(quarantines: Quarantines) -> None:
    with pytest.raises(NotFoundError, match="'GPU-7' is not in quarantine; see 'bulkhead fleet'"):
        quarantines.end("GPU-7", reason="", holder="")
    with pytest.raises(NotFoundError, match="GPU-7"):
        quarantines.passed("GPU-7", "")


def test_everything_is_in_the_log(quarantines: Quarantines, ledger: Ledger, clock: Clock) -> None:
    row = start(quarantines, clock)
    quarantines.passed(row.target, "quick")
    quarantines.end(row.target, reason="mended", holder="a person")
    assert [event.kind for event in ledger.events.select()] == [
        "quarantine-held",
        "quarantine-diagnosed",
        "quarantine-ended",
    ]
