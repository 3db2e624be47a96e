"""What a fleet's watch leaves: how devices and nodes stand, by pages, and its memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bulkhead.ledger.fleet import DeviceStand, FleetCount, FleetRecords, NodeStand, PageRequest
from bulkhead.ledger.ledger import Ledger
from tests.worlds import Clock

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = ("unhealthy", "suspect", "unknown", "healthy")
ALL = PageRequest(ORDER)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fleet(ledger_url: str, clock: Clock) -> FleetRecords:
    return Ledger(ledger_url, clock).fleet


def stand(uuid: str, node: str, health: str = "healthy", *, evidence: str = "", job: str = "") -> DeviceStand:
    return DeviceStand(uuid, node, "H100", health, "xid", evidence, "reset", job, SINCE)


def leave(fleet: FleetRecords, *devices: DeviceStand) -> None:
    nodes = sorted({device.node for device in devices})
    fleet.remember({node: {} for node in nodes}, [NodeStand(node, "H100", "pool-a") for node in nodes], devices)


def uuids(fleet: FleetRecords, page: PageRequest = ALL) -> list[str]:
    return [device.uuid for device in fleet.devices(page)[0]]


def test_what_a_watch_knows_is_remembered_by_node(fleet: FleetRecords) -> None:
    fleet.remember({"n1": {"GPU-1": {"x": 1}}, "n2": {}})
    fleet.remember({"n1": {"GPU-1": {"x": 2}}})
    assert fleet.remembered() == {"n1": {"GPU-1": {"x": 2}}, "n2": {}}
    assert fleet.remembered(["n1"]) == {"n1": {"GPU-1": {"x": 2}}}


def test_a_memory_alone_leaves_how_a_node_stands(fleet: FleetRecords) -> None:
    fleet.remember({}, [NodeStand("n1", "H100", "a", health="suspect")])
    fleet.remember({"n1": {"GPU-1": {}}})
    (node,) = fleet.nodes(ALL)[0]
    assert (node.product, node.pool, node.health) == ("H100", "a", "suspect")


def test_the_gravest_stand_first_by_pages(fleet: FleetRecords) -> None:
    leave(
        fleet,
        stand("GPU-1", "b"),
        stand("GPU-2", "a"),
        stand("GPU-3", "b", "unknown"),
        stand("GPU-4", "c", "unhealthy"),
    )
    assert uuids(fleet) == ["GPU-4", "GPU-3", "GPU-2", "GPU-1"]
    rows, total = fleet.devices(replace(ALL, offset=1, limit=2))
    assert ([row.uuid for row in rows], total) == (["GPU-3", "GPU-2"], 4)
    assert uuids(fleet, replace(ALL, health="healthy")) == ["GPU-2", "GPU-1"]
    assert fleet.devices(replace(ALL, offset=9)) == ([], 4)


@pytest.mark.parametrize("search", ["gpu-1", "NODE-a", "h100", "ml/serve", "xid 79", "100 %", "_"])
def test_devices_are_found_by_what_a_person_knows_of_them(fleet: FleetRecords, search: str) -> None:
    leave(fleet, stand("GPU-1", "node-a", evidence="Xid 79 at 100 % of _", job="ml/serve-digits"), stand("GPU-2", "x"))
    found = uuids(fleet, replace(ALL, search=search))
    assert found == (["GPU-1", "GPU-2"] if search == "h100" else ["GPU-1"])


def test_what_a_node_has_no_more_is_forgotten_and_another_watchs_nodes_are_left(
    fleet: FleetRecords, clock: Clock
) -> None:
    leave(fleet, stand("GPU-1", "a"), stand("GPU-2", "a"))
    leave(fleet, stand("GPU-3", "b"))
    clock.pass_by(15)
    leave(fleet, stand("GPU-2", "a", "suspect"))
    assert uuids(fleet) == ["GPU-2", "GPU-3"]
    assert [node.name for node in fleet.nodes(ALL)[0]] == ["a", "b"]
    assert [node.name for node in fleet.nodes_since(clock() - timedelta(seconds=1))] == ["a"]
    assert fleet.looked_at() == clock()


def test_how_many_stand_how_and_how_those_of_a_name_do(fleet: FleetRecords) -> None:
    assert fleet.looked_at() is None
    leave(fleet, stand("GPU-1", "a", job="ml/p"), stand("GPU-2", "a"), stand("GPU-3", "b", "unhealthy"))
    assert set(fleet.device_counts()) == {FleetCount("H100", "healthy", 2), FleetCount("H100", "unhealthy", 1)}
    assert list(fleet.node_counts()) == [FleetCount("H100", "unknown", 2)]
    assert fleet.health_of(["GPU-3", "a", "?"]) == {"GPU-3": "unhealthy", "a": "unknown"}
