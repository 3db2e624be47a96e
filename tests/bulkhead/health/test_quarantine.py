from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bulkhead.errors import FencedError, UnavailableError
from bulkhead.health.observation import Device
from bulkhead.health.quarantine import QuarantineChanges, QuarantineController
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health, NodeVerdict, Reason
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import Quarantines
from bulkhead.ledger.tables import QuarantinePhase
from bulkhead.settings import FleetSettings
from bulkhead.xids import RecommendedAction


class Nodes:
    """Nodes in memory, by what was last asked of each."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.fences: dict[str, int] = {}
        self.cleared: list[tuple[str, bool]] = []
        self.away = False

    def cordon(self, node: str, generation: int, reason: str, holder: str) -> bool:
        if self.away:
            raise UnavailableError("the cluster does not answer")
        self._write(node, generation)
        self.held[node] = reason
        return True

    def uncordon(self, node: str, generation: int) -> None:
        self._write(node, generation)
        self.held.pop(node, None)

    def _write(self, node: str, generation: int) -> None:
        if generation < self.fences.get(node, 0):
            raise FencedError(f"node {node} was written by generation {self.fences[node]}")
        self.fences[node] = generation

    def is_cordoned(self, node: str) -> bool:
        return node in self.held

    def drain(self, node: str, *, force: bool) -> list[str]:
        self.cleared.append((node, force))
        return []


class World:
    def __init__(self, folder: Path, **more: object) -> None:
        self.now = 1_000_000.0
        self.nodes = Nodes()
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        self.quarantines = Quarantines(self.ledger.engine, lambda: datetime.fromtimestamp(self.now, UTC))
        settings = FleetSettings(budget_share=0.5, probation_s=100, **more)
        self.controller = QuarantineController(self.quarantines, settings, self.nodes, "a test")  # type: ignore[arg-type]
        self.devices = {name: self.verdict(name, Health.HEALTHY) for name in ("a0", "a1", "b0", "b1", "c0", "c1")}

    def verdict(self, name: str, health: Health, action: RecommendedAction = RecommendedAction.RESET) -> DeviceVerdict:
        device = Device(name, name[0], "H100")
        return DeviceVerdict(device, health, Reason.XID, "Xid 95", action, 1.0, self.now, self.now)

    def stand(self, name: str, health: Health) -> None:
        self.devices[name] = self.verdict(name, health)

    def step(self, *whole: str) -> QuarantineChanges:
        self.now += 10
        nodes = {
            name: NodeVerdict(name, Health.HEALTHY, Reason.NOTHING, "", RecommendedAction.NONE, 2, 2, "pool")
            for name in "abc"
        }
        for name in whole:
            text = "2 of 2 devices unhealthy"
            nodes[name] = replace(nodes[name], health=Health.UNHEALTHY, text=text, healthy=0, evidence_at=self.now)
        return self.controller.step(Assessment(self.now, dict(self.devices), nodes))

    @property
    def phases(self) -> dict[str, QuarantinePhase]:
        return {quarantine.target: quarantine.phase for quarantine in self.quarantines.open_ones()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_unhealthy_device_takes_its_node_from_work_and_says_why(world: World) -> None:
    world.stand("a0", Health.UNHEALTHY)
    assert [one.target for one in world.step().started] == ["a0"]
    assert world.nodes.held == {"a": "a0: Xid 95"}
    assert world.quarantines.unapplied() == []


@pytest.mark.parametrize("health", [Health.SUSPECT, Health.UNKNOWN])
def test_what_is_not_unhealthy_is_left_at_work(world: World, health: Health) -> None:
    world.stand("a0", health)
    world.step()
    assert (world.phases, world.nodes.held) == ({}, {})


def test_an_unhealthy_node_is_one_quarantine(world: World) -> None:
    world.stand("a0", Health.UNHEALTHY)
    world.stand("a1", Health.UNHEALTHY)
    world.step("a")
    assert world.phases == {"a": QuarantinePhase.HELD}


def test_the_budget_is_kept_and_a_person_called(world: World) -> None:
    for name in ("a0", "b0", "c0"):
        world.stand(name, Health.UNHEALTHY)
    done = world.step()
    assert len(done.started) == 2  # a node of the pool is left
    assert list(done.refused) == ["c0"]
    assert "the last of pool" in done.refused["c0"]
    world.step()
    message = [event for event in world.ledger.events.select() if event.kind == "quarantine-refused"]
    assert [one.data["target"] for one in message] == ["c0"], "once, not at every poll"


def test_a_diagnostic_begins_probation_and_its_end_the_release(world: World) -> None:
    world.stand("a0", Health.UNHEALTHY)
    world.step()
    world.now += 10
    world.quarantines.passed("a0", "quick")
    assert world.step().moved == {"a0": QuarantinePhase.PROBATION}  # the verdict is of before
    assert world.nodes.held == {}
    world.stand("a0", Health.HEALTHY)
    world.now += 100
    assert world.step().moved == {"a0": QuarantinePhase.ENDED}
    assert world.phases == {}


def test_what_still_shows_its_fault_stays_whatever_passed(world: World) -> None:
    world.stand("a0", Health.UNHEALTHY)
    world.step()
    world.quarantines.passed("a0", "quick")
    world.now += 10
    world.stand("a0", Health.UNHEALTHY)
    assert world.step().moved == {}
    world.quarantines.passed("a0", "quick")
    world.devices["a0"] = replace(world.devices["a0"], age_s=600.0)  # unhealthy when it was seen last
    world.now += 10
    assert world.step().moved == {}
    world.devices["a0"] = replace(world.devices["a0"], health=Health.UNKNOWN)
    assert world.step().moved == {}
    del world.devices["a0"]
    assert world.step().moved == {}


def test_a_relapse_in_probation_is_held_for_longer(world: World) -> None:
    world.stand("a0", Health.UNHEALTHY)
    world.step()
    world.now += 1
    world.quarantines.passed("a0", "quick")
    world.step()
    world.stand("a0", Health.UNHEALTHY)
    world.now += 1
    world.stand("a0", Health.UNHEALTHY)
    world.step()
    (row,) = world.quarantines.open_ones()
    assert (row.phase, row.probation_s, row.relapses) == (QuarantinePhase.HELD, 200, 1)
    assert world.nodes.held.keys() == {"a"}


@pytest.mark.parametrize(("first", "then"), [("a0", "a1"), ("a1", "a0")])
def test_a_node_stays_away_as_long_as_one_of_its_devices_does(world: World, first: str, then: str) -> None:
    for name in ("a0", "a1"):
        world.stand(name, Health.UNHEALTHY)
    world.step()
    for name in ("a0", "a1"):
        world.stand(name, Health.HEALTHY)
    world.quarantines.end(first, reason="", holder="")
    world.step()
    assert world.nodes.held.keys() == {"a"}
    world.quarantines.end(then, reason="", holder="")
    world.step()
    assert world.nodes.held == {}
    assert world.quarantines.unapplied() == []


def test_what_somebody_else_took_away_is_put_back(world: World) -> None:
    world.stand("a0", Health.UNHEALTHY)
    world.step()
    world.nodes.held.clear()
    world.step()
    assert world.nodes.held.keys() == {"a"}


def test_a_cluster_that_is_away_is_asked_again(world: World) -> None:
    world.nodes.away = True
    world.stand("a0", Health.UNHEALTHY)
    assert world.step().failed == {"a": "the cluster does not answer"}
    world.nodes.away = False
    assert world.step().failed == {}
    assert world.nodes.held.keys() == {"a"}


def test_telling_alone_quarantines_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, quarantine=False)
    world.stand("a0", Health.UNHEALTHY)
    world.step()
    assert world.phases == {}


@pytest.mark.parametrize(("pods", "cleared"), [("leave", []), ("drain", [("a", False)]), ("kill", [("a", True)])])
def test_pods_are_left_drained_or_killed(tmp_path: Path, pods: str, cleared: list[tuple[str, bool]]) -> None:
    world = World(tmp_path, pods=pods, grace_s=0)
    world.stand("a0", Health.UNHEALTHY)
    world.step()
    assert world.nodes.cleared == cleared
