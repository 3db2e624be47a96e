from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Device, Field, Reading, Snapshot, XidEvent
from bulkhead.health.policy import Policy
from bulkhead.health.quarantine import QuarantineController
from bulkhead.health.verdict import Health
from bulkhead.health.watch import FleetWatch
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import Target
from bulkhead.settings import FleetSettings


class Played:
    """A source that shows one GPU with the ECC errors that a test sets."""

    def __init__(self, name: str) -> None:
        self.name, self.errors = name, 0.0

    def poll(self, at: float) -> Snapshot:
        device = Device(f"GPU-{self.name}", "n1", "H100")
        fields = {Field.TEMPERATURE: 50.0, Field.ECC_UNCORRECTED: self.errors}
        return Snapshot(self.name, at, {device.uuid: Reading(device, at, fields)}, covers=frozenset({"n1"}))


def test_asks_every_source() -> None:
    watch = FleetWatch([Played(str(number)) for number in range(50)], Policy())
    assert len(watch.poll().devices) == 50


def test_evidence_that_was_answered_speaks_no_more(tmp_path: Path) -> None:
    now = [1_000_000.0]
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", lambda: datetime.fromtimestamp(now[0], UTC))
    memory = ledger.quarantines
    source = Played("1")
    watch = FleetWatch([source], Policy(), ledger, lambda: now[0])
    controller = QuarantineController(memory, FleetSettings(budget_share=1.0), None, "a test")
    watch.poll()
    source.errors, now[0] = 1.0, now[0] + 15
    assessment = watch.poll()
    assert assessment.devices["GPU-1"].health is Health.UNHEALTHY
    started = memory.start(
        Target("GPU-1", "device", "n1"),
        reason="ecc",
        evidence="",
        action="",
        holder="",
        probation_s=100,
        evidence_at=datetime.fromtimestamp(now[0], UTC),
        budget=None,
    )
    now[0] += 15
    memory.passed(started.target, "quick")
    controller.step(watch.poll())
    now[0] += 15
    assert watch.poll().devices["GPU-1"].health is Health.HEALTHY
    source.errors, now[0] = 2.0, now[0] + 15
    assert watch.poll().devices["GPU-1"].health is Health.UNHEALTHY


def test_an_event_that_is_kept_for_an_hour_and_was_answered_is_read_again_in_vain() -> None:
    fleet, event = Fleet(Policy()), XidEvent(100.0, 79, text="GPU has fallen off the bus.")

    def health(at: float) -> Health:
        cluster = Snapshot("kubernetes", at, xids={"GPU-1": [event]})
        return fleet.take([Played("1").poll(at), cluster], at).devices["GPU-1"].health

    health(90.0)
    assert health(115.0) is Health.UNHEALTHY
    fleet.answer({"GPU-1": 130.0})
    assert [health(145.0), health(160.0)] == [Health.HEALTHY] * 2
    event = XidEvent(170.0, 79, text="GPU has fallen off the bus.")
    assert health(175.0) is Health.UNHEALTHY


def test_the_next_watch_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    memory = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    source = Played("1")
    first = FleetWatch([source], Policy(), memory, lambda: 1000.0)
    assert first.poll().devices["GPU-1"].health is Health.HEALTHY
    first.remember()
    source.errors = 1.0
    second = FleetWatch([source], Policy(), memory, lambda: 1015.0)
    assert second.poll().devices["GPU-1"].health is Health.UNHEALTHY


class Raising:
    """A source with a fault of its own."""

    name = "raising"

    def poll(self, at: float) -> Snapshot:
        raise RecursionError("a fault that nobody foresaw \x00")


def test_a_source_that_raises_has_failed_and_the_others_are_heard() -> None:
    assessment = FleetWatch([Raising(), Played("1")], Policy()).poll()
    assert list(assessment.devices) == ["GPU-1"]
    assert assessment.failed == {"raising": "raising: RecursionError: a fault that nobody foresaw \ufffd"}
