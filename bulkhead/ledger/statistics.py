"""The ledger in numbers, for monitoring: each by one query that the database itself adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Float, case, func, select, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.functions import FunctionElement

from bulkhead.events import EventKind
from bulkhead.ledger.tables import Event, Isolation, Launch, Phase, Quarantine, QuarantinePhase, Rollout, Service
from bulkhead.ledger.transactions import Transactions

BOUNDS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds of the histograms' buckets, in seconds; the last bucket has none."""


@dataclass(frozen=True)
class Durations:
    """A cumulative histogram.

    Attributes:
        counts: how many took at most so long, by ``BOUNDS_S``.
        count: of all.
        sum_s: of all, in seconds.
    """

    counts: Sequence[int]
    count: int
    sum_s: float


@dataclass(frozen=True)
class LedgerNumbers:
    """What the ledger holds.

    Attributes:
        ended: rollouts by service, phase (``promoted``, ``rolled_back``) and the rule that decided; empty for none.
        in_progress: rollouts by service and phase.
        detection: from a candidate's first traffic to the decision to roll it back, by service.
        rollback: from that decision until the split is back, as the router confirms it, by service.
        oldest: when the oldest unfinished work was asked for: ``rollout``, ``isolation``, ``launch`` (a pod that no
            task waits for); None where there is none.
        leases: holder by service.
        isolations: in force, by level.
        launches: pods that tasks wait for.
        quarantines: in force, by kind (``device``, ``node``) and phase.
        quarantined: devices that are kept away from work, by model.
        gate: verdicts of the evaluate gate, by the registered model's name and result (``passed``, ``refused``).
        services: names of all.
    """

    ended: Mapping[tuple[str, str, str], int]
    in_progress: Mapping[tuple[str, str], int]
    detection: Mapping[str, Durations]
    rollback: Mapping[str, Durations]
    oldest: Mapping[str, datetime | None]
    leases: Mapping[str, str]
    isolations: Mapping[str, int]
    launches: int
    quarantines: Mapping[tuple[str, str], int]
    quarantined: Mapping[str, int]
    gate: Mapping[tuple[str, str], int]
    services: Sequence[str]


class Statistics(Transactions):
    """Numbers of the ledger."""

    def read(self) -> LedgerNumbers:
        """All of them, as of one transaction.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        with self._reading() as session:
            return LedgerNumbers(
                ended=_ended(session),
                in_progress=_counted(session, Rollout.ended_at.is_(None), Rollout.service, Rollout.phase),
                detection=_durations(session, Rollout.exposed_at, Rollout.decided_at),
                rollback=_durations(session, Rollout.decided_at, Rollout.contained_at),
                oldest={
                    "rollout": session.scalar(select(func.min(Rollout.created_at)).where(Rollout.ended_at.is_(None))),
                    "isolation": session.scalar(select(func.min(Isolation.created_at)).where(_unapplied())),
                    "launch": session.scalar(
                        select(func.min(Launch.ended_at)).where(Launch.ended_at.is_not(None), Launch.gone_at.is_(None))
                    ),
                },
                leases=_leases(session),
                isolations=_counted_by(session, Isolation.ended_at.is_(None), Isolation.level),
                launches=session.scalar(
                    select(func.count()).select_from(Launch).where(Launch.ended_at.is_(None), Launch.gone_at.is_(None))
                )
                or 0,
                quarantines=_counted(
                    session, Quarantine.phase != QuarantinePhase.ENDED, Quarantine.kind, Quarantine.phase
                ),
                quarantined=_quarantined(session),
                gate=_gate(session),
                services=list(session.scalars(select(Service.name).order_by(Service.name))),
            )


class _seconds(FunctionElement[float]):
    """Seconds from one time to another."""

    type = Float()
    inherit_cache = True


@compiles(_seconds, "postgresql")
def _on_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    begin, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"EXTRACT(EPOCH FROM ({end} - {begin}))"


@compiles(_seconds, "sqlite")
def _on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    begin, end = (compiler.process(clause, **options) for clause in element.clauses)
    return f"((julianday({end}) - julianday({begin})) * 86400.0)"


def _unapplied() -> ColumnElement[bool]:
    to_apply = Isolation.ended_at.is_(None) & Isolation.applied_at.is_(None)
    return to_apply | (Isolation.ended_at.is_not(None) & Isolation.gone_at.is_(None))


def _ended(session: Session) -> dict[tuple[str, str, str], int]:
    rule = type_coerce(Rollout.decision, JSON())["rule"].as_string().label("rule")
    query = select(Rollout.service, Rollout.phase, rule, func.count()).where(Rollout.ended_at.is_not(None))
    rows = session.execute(query.group_by(Rollout.service, Rollout.phase, "rule"))
    return {(service, str(phase), rule or ""): count for service, phase, rule, count in rows}


def _counted(session: Session, which: ColumnElement[bool], *columns: Any) -> dict[tuple[str, str], int]:
    rows = session.execute(select(*columns, func.count()).where(which).group_by(*columns))
    return {(str(row[0]), str(row[1])): row[2] for row in rows.tuples()}


def _counted_by(session: Session, which: ColumnElement[bool], column: Any) -> dict[str, int]:
    rows = session.execute(select(column, func.count()).where(which).group_by(column))
    return {str(value): count for value, count in rows}


def _quarantined(session: Session) -> dict[str, int]:
    held = Quarantine.phase.in_([phase for phase in QuarantinePhase if phase.holds])
    rows = session.execute(select(Quarantine.model, func.sum(Quarantine.size)).where(held).group_by(Quarantine.model))
    return {model: int(devices) for model, devices in rows}


def _gate(session: Session) -> dict[tuple[str, str], int]:
    data = type_coerce(Event.data, JSON())
    name, passed = data["model_name"].as_string().label("name"), data["passed"].as_boolean().label("passed")
    query = select(name, passed, func.count()).where(Event.kind == EventKind.GATE_VERDICT)
    rows = session.execute(query.group_by("name", "passed"))
    return {(str(model), "passed" if let else "refused"): count for model, let, count in rows}


def _durations(
    session: Session, begin: InstrumentedAttribute[datetime | None], end: InstrumentedAttribute[datetime | None]
) -> dict[str, Durations]:
    """Of rollouts that were rolled back, and had both moments."""
    lasted = _seconds(begin, end)
    below = [func.sum(case((lasted <= bound, 1), else_=0)) for bound in BOUNDS_S]
    query = select(Rollout.service, func.count(), func.sum(lasted), *below)
    both = begin.is_not(None) & end.is_not(None)
    rows = session.execute(query.where(both, Rollout.phase == Phase.ROLLED_BACK).group_by(Rollout.service))
    return {row[0]: Durations([int(count) for count in row[3:]], row[1], float(row[2])) for row in rows}


def _leases(session: Session) -> dict[str, str]:
    held = session.execute(select(Service.name, Service.held_by).where(Service.held_by.is_not(None)))
    return {name: holder for name, holder in held if holder is not None}
