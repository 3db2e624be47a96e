"""One step of the quarantine controller, over nodes that are files; ended just before one of its effects."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bulkhead.health.observation import Device
from bulkhead.health.quarantine import QuarantineController
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health, NodeVerdict, Reason
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import Quarantines
from bulkhead.settings import FleetSettings
from bulkhead.xids import RecommendedAction
from tests.killing import Effects

BEGIN = 1_000_000.0


class FolderNodes:
    """A file a node that is held; written and removed by renames, as a cluster's object is by one request."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def cordon(self, node: str, generation: int, reason: str, holder: str) -> bool:
        new = self._folder / f".{node}"
        new.write_text(reason)
        new.rename(self._folder / node)
        return True

    def uncordon(self, node: str, generation: int) -> None:
        (self._folder / node).unlink(missing_ok=True)

    def is_cordoned(self, node: str) -> bool:
        return (self._folder / node).exists()

    def drain(self, node: str, *, force: bool) -> list[str]:
        return []

    def held(self) -> set[str]:
        """Names of the nodes that are held."""
        return {one.name for one in self._folder.iterdir() if not one.name.startswith(".")}


def quarantines(folder: Path, now: float) -> Quarantines:
    """Of a ledger in a folder, by a clock that stands."""
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    return Quarantines(ledger.engine, lambda: datetime.fromtimestamp(now, UTC))


def step(folder: Path, now: float, unhealthy: bool, kill_at: int | None = None) -> None:
    """One step.

    Args:
        folder: of the ledger, and of the nodes.
        now: seconds since 1970.
        unhealthy: whether device a0 is; its evidence is of ``BEGIN``.
        kill_at: index of the effect before which the process ends; -1 to leave the effects in ``effects.json``.
    """
    own = quarantines(folder, now)
    own.open_ones()  # opens the ledger: that is not the point here
    effects = Effects(-1 if kill_at is None else kill_at)
    if kill_at is not None:
        effects.watch(own.engine)
    nodes = FolderNodes(folder / "nodes")
    controller = QuarantineController(own, FleetSettings(probation_s=100), nodes, "a test")  # type: ignore[arg-type]
    fine = DeviceVerdict(
        Device("a0", "a", "H"), Health.HEALTHY, Reason.NOTHING, "", RecommendedAction.NONE, 1.0, BEGIN, BEGIN
    )
    other = replace(fine, device=Device("b0", "b", "H"))
    if unhealthy:
        fine = replace(fine, health=Health.UNHEALTHY, reason=Reason.XID, text="Xid 79", action=RecommendedAction.REBOOT)
    devices = {one.device.uuid: one for one in (fine, other)}
    nodes_now = {
        name: NodeVerdict(name, Health.HEALTHY, Reason.NOTHING, "", RecommendedAction.NONE, devices=1, healthy=1)
        for name in "ab"
    }
    controller.step(Assessment(now, devices, nodes_now))
    if kill_at == -1:
        (folder / "effects.json").write_text(json.dumps(effects.seen))
