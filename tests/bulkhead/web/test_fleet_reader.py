"""From the ledger to documents: how nodes and devices stand, what the budget has left, and what waits for a person."""

from datetime import timedelta
from typing import Any

import pytest

from bulkhead.health.verdict import Health
from bulkhead.ledger.fleet import DeviceStand, NodeStand
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import RELAPSES, Target
from bulkhead.ledger.tables import QuarantinePhase
from bulkhead.settings import FleetSettings
from bulkhead.web.documents import Attention
from bulkhead.web.fleet_documents import WaitsFor
from bulkhead.web.fleet_reader import FleetReader
from bulkhead.web.reader import LedgerReader
from tests.rollouts import promote
from tests.worlds import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Ledger:
    return Ledger(ledger_url, clock)


@pytest.fixture
def reading(ledger: Ledger, clock: Clock) -> FleetReader:
    return FleetReader(ledger, FleetSettings(budget_share=0.5), clock)


def leave(ledger: Ledger, **devices: str) -> None:
    """What a watch leaves: how each device stands; it is on the node of its first letter, and a pod may have it."""
    stands = [
        DeviceStand(f"GPU-{name}", name[0], "H100", health, "xid", f"Xid 79 of {name}", "reset", "", ledger._clock())
        for name, health in devices.items()
    ]
    names = sorted({stand.node for stand in stands})
    nodes = [NodeStand(name, "H100", "a", health="suspect", devices=2, healthy=1) for name in names]
    ledger.fleet.remember({name: {} for name in names}, nodes, stands)


def quarantine(ledger: Ledger, target: str, node: str) -> None:
    asked: dict[str, Any] = {"reason": "xid", "evidence": "Xid 79", "action": "reset", "holder": "watch"}
    kind = "node" if target == node else "device"
    size = 2 if kind == "node" else 1
    at = ledger._clock() + timedelta(seconds=1)
    ledger.quarantines.start(
        Target(target, kind, node, "H100", "a", size), **asked, probation_s=60, evidence_at=at, budget=None
    )


def test_a_fleet_that_nobody_has_looked_at_says_so(reading: FleetReader) -> None:
    fleet = reading.fleet()
    assert (fleet.looked_at, fleet.current, list(fleet.models)) == (None, False, [])
    assert set(fleet.devices.values()) == {0}
    assert reading.devices("", None, 0, 50).total == reading.nodes("", None, 0, 50).total == 0


def test_what_a_watch_left_is_counted_and_believed_for_a_while(
    ledger: Ledger, reading: FleetReader, clock: Clock
) -> None:
    leave(ledger, a1="healthy", a2="unhealthy", b1="healthy", b2="healthy")
    quarantine(ledger, "GPU-a2", "a")
    fleet = reading.fleet()
    assert fleet.current and fleet.looked_at == clock()
    assert (fleet.devices[Health.HEALTHY], fleet.devices[Health.UNHEALTHY], fleet.nodes[Health.SUSPECT]) == (3, 1, 2)
    (model,) = fleet.models
    assert (model.model, model.devices, model.healthy, model.away, model.budget) == ("H100", 4, 3, 1, 2)
    clock.pass_by(601)
    assert not reading.fleet().current


def test_devices_and_nodes_come_by_pages_with_their_quarantine(ledger: Ledger, reading: FleetReader) -> None:
    leave(ledger, a1="healthy", a2="unhealthy", b1="healthy", b2="unknown")
    quarantine(ledger, "GPU-a2", "a")
    quarantine(ledger, "b", "b")
    page = reading.devices("", None, 0, 3)
    assert [device.uuid for device in page.items] == ["GPU-a2", "GPU-b2", "GPU-a1"]
    held = QuarantinePhase.HELD
    assert [device.quarantine for device in page.items] == [held, held, None]
    assert (page.total, page.next) == (4, 3)
    assert reading.devices("", None, 3, 3).next is None
    assert [device.uuid for device in reading.devices("xid 79 OF b", Health.HEALTHY, 0, 50).items] == ["GPU-b1"]
    nodes = reading.nodes("", None, 0, 50).items
    assert [(node.name, node.quarantine, node.healthy) for node in nodes] == [("a", None, 1), ("b", held, 1)]
    assert [row.target for row in reading.quarantines("GPU", 0, 50).items] == ["GPU-a2"]
    assert [row.size for row in reading.quarantines("", 0, 50).items] == [1, 2]


def test_what_has_relapsed_too_often_and_what_the_budget_leaves_wait_for_a_person(
    ledger: Ledger, reading: FleetReader, clock: Clock
) -> None:
    leave(ledger, a1="unhealthy", a2="unhealthy", b1="unhealthy")
    for _ in range(RELAPSES + 1):
        quarantine(ledger, "GPU-a1", "a")
        ledger.quarantines.end("GPU-a1", reason="it looked well", holder="ada")
        clock.pass_by(10)
    quarantine(ledger, "GPU-a1", "a")
    ledger.quarantines.refused("GPU-a2", "the budget is 1")
    ledger.quarantines.refused("GPU-b1", "the budget is 1")
    waiting = {row.target: row for row in reading.fleet().waiting}
    assert {target: row.waits_for for target, row in waiting.items()} == {
        "GPU-a1": WaitsFor.RELAPSES,
        "GPU-a2": WaitsFor.BUDGET,
        "GPU-b1": WaitsFor.BUDGET,
    }
    assert waiting["GPU-a1"].command.startswith("bulkhead quarantine end GPU-a1")
    assert waiting["GPU-a2"].why == "the budget is 1"
    assert reading.quarantines("", 0, 50).items[0].phase is QuarantinePhase.MANUAL
    leave(ledger, a1="unhealthy", a2="healthy", b1="unhealthy")
    quarantine(ledger, "GPU-b1", "b")
    assert [row.target for row in reading.fleet().waiting] == ["GPU-a1"]
    clock.pass_by(3 * 3600)
    assert [row.waits_for for row in reading.fleet().waiting] == [WaitsFor.RELAPSES]


def test_a_service_says_how_the_devices_of_its_pods_stand(ledger: Ledger) -> None:
    revision = promote(ledger, "old").revision_id
    reading = LedgerReader(ledger)
    assert reading.service("digits").devices is None
    stands = [
        DeviceStand(f"GPU-{number}", "n", "H100", health, "xid", "Xid 79", "reset", job, ledger._clock())
        for number, (health, job) in enumerate(
            [
                ("healthy", f"ml/serve-{revision}-5d8-aaaaa"),
                ("healthy", f"ml/serve-{revision}-5d8-bbbbb"),
                ("unhealthy", f"ml/serve-{revision}-5d8-bbbbb"),
                ("unhealthy", "ml/train-another"),
            ]
        )
    ]
    ledger.fleet.remember({"n": {}}, [NodeStand("n", "H100")], stands)
    service = reading.service("digits")
    assert service.devices is not None
    assert (service.devices.count, service.devices.by_health) == (3, {"healthy": 2, "unhealthy": 1})
    assert (service.attention, service.why) == (Attention.DEVICES, "GPU-2 of n: Xid 79")
    assert reading.services().items[0] == service
