"""Devices that turn unhealthy and recover, tests, persons, two watches, a cluster that is away, a clock that runs.

Whatever the order: one quarantine a target, the budget kept, a pool's last node at work, and in the end the nodes
show what the ledger says.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bulkhead.errors import NotFoundError
from bulkhead.health.quarantine import QuarantineController
from bulkhead.health.verdict import Health
from bulkhead.ledger.tables import QuarantinePhase
from bulkhead.settings import FleetSettings
from tests.bulkhead.health.test_quarantine import World

DEVICES = st.sampled_from(["a0", "a1", "b0", "b1", "c0", "c1"])


class Storm(RuleBasedStateMachine):
    """The world of the controller's own tests, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self._folder.name))
        world = self.world
        self.others = QuarantineController(
            world.quarantines,
            FleetSettings(budget_share=0.5, probation_s=100),
            world.nodes,  # type: ignore[arg-type]
            "another",
        )
        self.own = world.controller

    @rule(name=DEVICES, health=st.sampled_from(list(Health)))
    def stand(self, name: str, health: Health) -> None:
        self.world.now += 1
        self.world.stand(name, health)

    @rule(name=DEVICES)
    def vanish(self, name: str) -> None:
        self.world.devices.pop(name, None)

    @rule(seconds=st.sampled_from([0, 60, 600, 86400 * 31]))
    def pass_by(self, seconds: int) -> None:
        self.world.now += seconds

    @rule(others=st.booleans())
    def step(self, others: bool) -> None:
        self.world.controller = self.others if others else self.own
        self.world.step()

    @rule(name=DEVICES)
    def passed(self, name: str) -> None:
        with suppress(NotFoundError):
            self.world.quarantines.passed(name, "quick")

    @rule(name=DEVICES)
    def release(self, name: str) -> None:
        with suppress(NotFoundError):
            self.world.quarantines.end(name, reason="a person", holder="a person")

    @rule()
    def cluster_leaves(self) -> None:
        self.world.nodes.away = True

    @precondition(lambda self: self.world.nodes.away)
    @rule()
    def cluster_returns(self) -> None:
        self.world.nodes.away = False

    @rule()
    def somebody_uncordons(self) -> None:
        self.world.nodes.held.clear()

    @invariant()
    def the_rules_hold(self) -> None:
        rows = self.world.quarantines.open_ones()
        assert len({row.target for row in rows}) == len(rows)
        held = [row for row in rows if row.phase.holds]
        assert sum(row.size for row in held) <= 3, "half of six devices"
        assert len({row.node for row in held}) < 3, "a pool's last node"
        assert all((row.relapses >= 3) == (row.phase is QuarantinePhase.MANUAL) for row in held)

    def teardown(self) -> None:
        self.world.nodes.away = False
        self.world.controller = self.own
        for _ in range(2):
            self.world.step()
        held = {row.node for row in self.world.quarantines.open_ones() if row.phase.holds}
        assert set(self.world.nodes.held) == held
        assert self.world.quarantines.unapplied() == []
        self._folder.cleanup()


TestStorm = Storm.TestCase
TestStorm.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
