"""From the ledger to the documents about nodes and devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from bulkhead.health.verdict import Health
from bulkhead.ledger.fleet import FleetCount, PageRequest
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import FleetDevice, FleetNode, Quarantine, QuarantinePhase
from bulkhead.settings import FleetSettings
from bulkhead.web.documents import Page
from bulkhead.web.fleet_documents import (
    DeviceDocument,
    FleetDocument,
    ModelDocument,
    NodeDocument,
    QuarantineDocument,
    WaitingDocument,
    WaitsFor,
)

GRAVEST_FIRST = tuple(sorted(Health, key=lambda health: health.weight, reverse=True))

_REFUSED_FOR = timedelta(hours=2)
"""What the budget leaves at work is recorded again every hour, for as long as it does."""


class FleetReader:
    """How nodes and devices stand, by what the fleet's watch has left in the ledger.

    Args:
        ledger: that is read.
        settings: of the fleet: its budget, and how often its watch looks.
        clock: gives the time in UTC.
    """

    def __init__(
        self, ledger: Ledger, settings: FleetSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._ledger, self._settings, self._clock = ledger, settings, clock

    def fleet(self) -> FleetDocument:
        """How all of it stands."""
        ledger = self._ledger
        looked_at, quarantines = ledger.fleet.looked_at(), ledger.quarantines.open_ones()
        counts = ledger.fleet.device_counts()
        return FleetDocument(
            looked_at=looked_at,
            current=looked_at is not None and self._clock() - looked_at <= self._settings.believed_for,
            devices=_by_health(counts),
            nodes=_by_health(ledger.fleet.node_counts()),
            models=list(self._models(counts, quarantines)),
            quarantines=len(quarantines),
            waiting=list(self._waiting(quarantines)),
        )

    def devices(self, search: str, health: Health | None, offset: int, limit: int) -> Page[DeviceDocument]:
        """Devices, the gravest first, then by node.

        Args:
            search: part of the node, UUID, model, pod or evidence, in whatever case; empty for every one.
            health: only what stands so; None for however it stands.
            offset: how many to leave out.
            limit: at most so many.
        """
        asked = PageRequest(GRAVEST_FIRST, search, health, offset, limit)
        rows, total = self._ledger.fleet.devices(asked)
        phases = _phases(self._ledger.quarantines.open_ones())
        return _page([device_document(row, phases) for row in rows], total, asked)

    def nodes(self, search: str, health: Health | None, offset: int, limit: int) -> Page[NodeDocument]:
        """Nodes, the gravest first, then by name; arguments as of ``devices``."""
        asked = PageRequest(GRAVEST_FIRST, search, health, offset, limit)
        rows, total = self._ledger.fleet.nodes(asked)
        phases = _phases(self._ledger.quarantines.open_ones())
        return _page([_node_document(row, phases) for row in rows], total, asked)

    def quarantines(self, search: str, offset: int, limit: int) -> Page[QuarantineDocument]:
        """Quarantines that have not ended, what waits for a person first, then the oldest.

        Args:
            search: part of the target, node, model or evidence, in whatever case; empty for every one.
        """
        rows = [row for row in self._ledger.quarantines.open_ones() if _matches(row, search.casefold())]
        rows.sort(key=lambda row: row.phase is not QuarantinePhase.MANUAL)
        part = [QuarantineDocument.model_validate(row) for row in rows[offset : offset + limit]]
        return _page(part, len(rows), PageRequest(GRAVEST_FIRST, search, None, offset, limit))

    def _models(self, counts: Sequence[FleetCount], quarantines: Iterable[Quarantine]) -> Iterator[ModelDocument]:
        away: Counter[str] = Counter()
        for row in quarantines:
            if row.phase.holds:
                away[row.model] += row.size
        for model in sorted({counted.model for counted in counts} | set(away)):
            of_model = {counted.health: counted.count for counted in counts if counted.model == model}
            devices = sum(of_model.values())
            yield ModelDocument(
                model=model,
                devices=devices,
                healthy=of_model.get(Health.HEALTHY, 0),
                away=away[model],
                budget=self._settings.budget(devices),
            )

    def _waiting(self, quarantines: Sequence[Quarantine]) -> Iterator[WaitingDocument]:
        for row in quarantines:
            if row.phase is QuarantinePhase.MANUAL:
                yield WaitingDocument(
                    target=row.target,
                    waits_for=WaitsFor.RELAPSES,
                    why=f"{row.evidence} (it has relapsed {row.relapses} times)",
                    since=row.phase_at,
                    command=f"bulkhead quarantine end {row.target} --reason …",
                )
        refusals = self._ledger.quarantines.refusals(self._clock() - _REFUSED_FOR)
        held = {row.target for row in quarantines if row.phase.holds}
        health = self._ledger.fleet.health_of([event.data["target"] for event in refusals]) if refusals else {}
        for event in refusals:
            target = str(event.data["target"])
            if target not in held and health.get(target) in (None, Health.UNHEALTHY):
                yield WaitingDocument(
                    target=target,
                    waits_for=WaitsFor.BUDGET,
                    why=str(event.data["text"]),
                    since=event.at,
                    command=f"bulkhead quarantine start {target} --reason …",
                )


def device_document(row: FleetDevice, phases: Mapping[str, QuarantinePhase]) -> DeviceDocument:
    """A device as a document.

    Args:
        phases: of quarantines, by UUID and by node.
    """
    columns = {name: getattr(row, name) for name in DeviceDocument.model_fields if name != "quarantine"}
    return DeviceDocument(**columns, quarantine=phases.get(row.uuid) or phases.get(row.node))


def _node_document(row: FleetNode, phases: Mapping[str, QuarantinePhase]) -> NodeDocument:
    columns = {name: getattr(row, name) for name in NodeDocument.model_fields if name != "quarantine"}
    return NodeDocument(**columns, quarantine=phases.get(row.name))


def _phases(quarantines: Iterable[Quarantine]) -> Mapping[str, QuarantinePhase]:
    return {row.target: row.phase for row in quarantines}


def _by_health(counts: Iterable[FleetCount]) -> dict[Health, int]:
    counted: Counter[str] = Counter()
    for row in counts:
        counted[row.health] += row.count
    return {health: counted[health] for health in GRAVEST_FIRST}


def _matches(row: Quarantine, part: str) -> bool:
    return any(part in text.casefold() for text in (row.target, row.node, row.model, row.evidence))


def _page(items: Sequence, total: int, asked: PageRequest) -> Page:  # type: ignore[type-arg]
    following = asked.offset + asked.limit
    return Page(items=items, total=total, next=following if following < total else None)
