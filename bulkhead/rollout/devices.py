"""The devices under a revision's pods: whether they are unhealthy, and keeping them away from work.

What is known of them is what the fleet's watch has left in the ledger; a rollout asks no exporter itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.health.verdict import Health
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.fleet import FleetRecords
from bulkhead.ledger.quarantines import QuarantineBudget, Quarantines, Target
from bulkhead.ledger.tables import Isolation
from bulkhead.settings import FleetSettings
from bulkhead.workloads.base import Placement

log = logging.getLogger(__name__)

_FRESH = timedelta(minutes=10)
"""What a watch has left is believed for so long."""


@dataclass(frozen=True)
class Devices:
    """What is known of devices, for rollouts.

    Attributes:
        quarantines: of the ledger.
        fleet: what watches have left there.
        settings: of the fleet.
        clock: gives the time in UTC.
    """

    quarantines: Quarantines
    fleet: FleetRecords
    settings: FleetSettings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def fault(self, placement: Placement) -> str | None:
        """Which device under some pods is unhealthy, in words.

        Returns:
            None where none is known to be: also where it is not known which device they have.
        """
        if not placement.nodes:
            return None
        held = {row.target: row for row in self.quarantines.held()}
        for node in sorted(placement.nodes & held.keys()):
            return f"node {node}: {held[node].evidence}"
        for uuid, device in self._under(placement):
            verdict = device["verdict"] or {}
            if verdict.get("health") == Health.UNHEALTHY:
                return f"{uuid} of {device['device']['node']}: {verdict['text']}"
        return None

    def of(self, placement: Placement) -> list[str]:
        """UUIDs of the devices that some pods have, as far as it is known who has them."""
        return sorted(uuid for uuid, _ in self._under(placement))

    def quarantine(self, isolation: Isolation, placement: Placement) -> None:
        """Ask for a quarantine of what some pods run on, within the fleet's budget.

        Args:
            isolation: the level that asks for it: ``device`` or ``node``.
        """
        remembered = self.fleet.remembered()
        for target in self._targets(isolation.level, placement, remembered):
            try:
                self.quarantines.start(
                    target,
                    reason="isolation",
                    evidence=f"revision {isolation.revision_id}: {isolation.reason}",
                    action="contact-support",
                    holder=_holder(isolation),
                    probation_s=self.settings.probation_s,
                    evidence_at=isolation.created_at,
                    budget=self._budget(target, remembered),
                )
            except ConflictError as error:
                log.error("isolation of %s: %s", isolation.revision_id, error)

    def unisolate(self, isolation: Isolation) -> None:
        """Take back what ``quarantine`` asked for, and nothing that others hold."""
        for row in self.quarantines.open_ones():
            if row.holder == _holder(isolation):
                try:
                    self.quarantines.end(row.target, reason="its isolation was released", holder=row.holder)
                except NotFoundError:  # another process was quicker
                    continue

    def _targets(
        self, level: IsolationLevel, placement: Placement, devices_of: Mapping[str, Mapping[str, Any]]
    ) -> Iterator[Target]:
        if level is IsolationLevel.DEVICE:
            for uuid, device in self._under(placement):
                yield Target(uuid, "device", device["device"]["node"], device["device"]["model"])
            return
        for node in sorted(placement.nodes):
            models = _models(devices_of.get(node, {}))
            yield Target(node, "node", node, models[0] if models else "", size=max(len(models), 1))

    def _under(self, placement: Placement) -> Iterator[tuple[str, dict[str, Any]]]:
        """Devices that some pods have, as far as it is known who has them."""
        since = self.clock() - _FRESH
        for devices in self.fleet.remembered(placement.nodes, since).values():
            for uuid, device in devices.items():
                if (device["verdict"] or {}).get("job") in placement.pods:
                    yield uuid, device

    def _budget(self, target: Target, devices_of: Mapping[str, Mapping[str, Any]]) -> QuarantineBudget:
        of_model = {node: _models(devices).count(target.model) for node, devices in devices_of.items()}
        others = {node for node, count in of_model.items() if count and node != target.node}
        devices = self.settings.budget(sum(of_model.values()))
        return QuarantineBudget(
            devices, others if target.model else None
        )  # without a watch its neighbours are not known


def _models(devices: Mapping[str, Any]) -> list[str]:
    return [device["device"]["model"] for device in devices.values()]


def _holder(isolation: Isolation) -> str:
    return f"isolation/{isolation.id}"
