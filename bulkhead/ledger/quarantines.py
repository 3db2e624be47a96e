"""Quarantines: leases on bad devices and nodes, within a budget, and their way back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.events import EventKind
from bulkhead.ledger.tables import Event, Quarantine, QuarantinePhase
from bulkhead.ledger.transactions import Transactions

RELAPSES = 3
"""So many relapses within ``RELAPSE_DAYS`` need a person."""

RELAPSE_DAYS = 30
_LOCK = 0x62756C6B  # of all quarantines, on PostgreSQL; SQLite has one writer anyway


@dataclass(frozen=True)
class Target:
    """What is to be kept away from work.

    Attributes:
        name: the device's UUID, or the node's name.
        kind: ``device`` or ``node``.
        node: that it is, or is on.
        model: of its devices, or empty.
        pool: node pool, or empty.
        size: how many devices that takes out of work.
    """

    name: str
    kind: str
    node: str
    model: str = ""
    pool: str = ""
    size: int = 1


@dataclass(frozen=True)
class QuarantineBudget:
    """How much may be kept away at once.

    Attributes:
        devices: of the target's model, in all; the first target is always within it.
        pool_others: the pool's other nodes that can work, or None where pools are not known: one has to be left.
    """

    devices: int
    pool_others: Collection[str] | None = None


class Quarantines(Transactions):
    """The quarantines of one ledger."""

    def open_ones(self) -> Sequence[Quarantine]:
        """Those that have not ended, oldest first."""
        with self._reading() as session:
            return session.scalars(_open().order_by(Quarantine.id)).all()

    def held(self) -> Sequence[Quarantine]:
        """Those that keep their target away from work, oldest first."""
        return [row for row in self.open_ones() if row.phase.holds]

    def generations(self) -> dict[str, int]:
        """The fence of each node: the id of its latest quarantine, whatever became of it."""
        query = select(Quarantine.node, func.max(Quarantine.id)).group_by(Quarantine.node)
        with self._reading() as session:
            return dict(session.execute(query).tuples().all())

    def answered(self) -> dict[str, datetime]:
        """When the evidence against each target was answered last: it went on probation, or has ended.

        Returns:
            By target; of those that were answered within ``RELAPSE_DAYS`` and are not held again.
        """
        since = self._clock() - timedelta(days=RELAPSE_DAYS)
        query = select(Quarantine).where(Quarantine.phase_at >= since).order_by(Quarantine.id)
        with self._reading() as session:
            latest = {row.target: row for row in session.scalars(query)}
        return {target: row.phase_at for target, row in latest.items() if not row.phase.holds}

    def unapplied(self) -> Sequence[Quarantine]:
        """Those of which the world shows another phase, ended ones included, oldest first."""
        other = Quarantine.applied_phase.is_distinct_from(Quarantine.phase)
        with self._reading() as session:
            return session.scalars(select(Quarantine).where(other).order_by(Quarantine.id)).all()

    def start(
        self,
        target: Target,
        *,
        reason: str,
        evidence: str,
        action: str,
        holder: str,
        probation_s: float,
        evidence_at: datetime,
        budget: QuarantineBudget | None,
    ) -> Quarantine:
        """Keep something away from work; one that is on probation has relapsed.

        Args:
            reason: code of what decided.
            action: what is to be done with it.
            holder: who keeps it away.
            probation_s: first probation, in seconds; each relapse within ``RELAPSE_DAYS`` doubles it.
            evidence_at: time of the evidence; what is no later than its last release or probation is answered already.
            budget: how much may be kept away at once; None: any amount, for a person.

        Returns:
            Its latest quarantine.

        Raises:
            ConflictError: the budget is spent.
        """
        with self._writing() as session:
            self._alone(session)
            latest = select(Quarantine).where(Quarantine.target == target.name).order_by(Quarantine.id.desc()).limit(1)
            row = session.scalar(latest)
            if row is not None and (row.phase.holds or evidence_at <= row.phase_at):
                return row
            if budget is not None:
                _within(session, target, budget)
            now = self._clock()
            if row is None or row.ended_at is not None:
                row = self._new(session, target, now, probation_s)
            else:
                row.relapses, row.probation_s = row.relapses + 1, row.probation_s * 2
            row.reason, row.evidence, row.action, row.holder, row.size = reason, evidence, action, holder, target.size
            row.phase = QuarantinePhase.MANUAL if row.relapses >= RELAPSES else QuarantinePhase.HELD
            row.phase_at, row.passed_at = now, None
            self._record(session, row, str(row.phase), evidence)
            return row

    def refused(self, target: str, why: str) -> None:
        """Record that the budget leaves something unhealthy at work: a person is needed. Once an hour a target."""
        since = self._clock() - timedelta(hours=1)
        with self._writing() as session:
            self._alone(session)
            evidence = session.scalars(
                select(Event).where(Event.kind == EventKind.QUARANTINE_REFUSED, Event.at >= since)
            )
            if all(event.data["target"] != target for event in evidence):
                data = {"target": target, "text": why}
                session.add(Event(at=self._clock(), kind=EventKind.QUARANTINE_REFUSED, data=data))

    def refusals(self, since: datetime) -> Sequence[Event]:
        """What ``refused`` has recorded after a time, newest first, one of each target."""
        refused = (Event.kind == EventKind.QUARANTINE_REFUSED) & (Event.at >= since)
        with self._reading() as session:
            events = session.scalars(select(Event).where(refused).order_by(Event.id)).all()
        return list({event.data["target"]: event for event in events}.values())[::-1]

    def passed(self, target: str, evidence: str) -> Quarantine:
        """Record that a diagnostic of something held has passed.

        Args:
            evidence: what passed, for people.

        Returns:
            The quarantine.

        Raises:
            NotFoundError: it is not in quarantine.
        """
        with self._writing() as session:
            row = _of(session, target)
            row.passed_at = self._clock()
            self._record(session, row, "diagnosed", evidence)
            return row

    def move(self, row: Quarantine, phase: QuarantinePhase, evidence: str) -> bool:
        """Let a quarantine go on.

        Args:
            row: as it was read.
            phase: to go on to.

        Returns:
            Whether it still stood as it was read; if not, poll again.
        """
        with self._writing() as session:
            self._alone(session)
            current = session.get_one(Quarantine, row.id, with_for_update=True)
            if (current.phase, current.phase_at) != (row.phase, row.phase_at):
                return False
            current.phase, current.phase_at = phase, self._clock()
            if phase is QuarantinePhase.ENDED:
                current.ended_at = current.phase_at
            self._record(session, current, str(phase), evidence)
            return True

    def end(self, target: str, *, reason: str, holder: str) -> Quarantine:
        """End a quarantine at once, as a person decides.

        Returns:
            The quarantine.

        Raises:
            NotFoundError: it is not in quarantine.
        """
        with self._writing() as session:
            row = _of(session, target)
            row.phase, row.ended_at = QuarantinePhase.ENDED, self._clock()
            row.phase_at = row.ended_at
            self._record(session, row, "ended", f"{reason} ({holder})")
            return row

    def mark_applied(self, row: Quarantine) -> None:
        """Write that the world shows a phase.

        Args:
            row: as it was read; one that has moved on since is looked at again.
        """
        with self._writing() as session:
            session.get_one(Quarantine, row.id, with_for_update=True).applied_phase = row.phase

    def _new(self, session: Session, target: Target, now: datetime, probation_s: float) -> Quarantine:
        since = now - timedelta(days=RELAPSE_DAYS)
        each = func.count() + func.coalesce(func.sum(Quarantine.relapses), 0)  # a new one is a relapse of the earlier
        earlier = select(each).where(Quarantine.target == target.name, Quarantine.opened_at >= since)
        relapses = session.scalar(earlier) or 0
        row = Quarantine(target=target.name, kind=target.kind, node=target.node, model=target.model, pool=target.pool)
        row.opened_at, row.relapses, row.probation_s, row.applied_phase = now, relapses, probation_s * 2**relapses, None
        session.add(row)
        return row

    def _alone(self, session: Session) -> None:
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def _record(self, session: Session, row: Quarantine, kind: str, evidence: str) -> None:
        data = {
            "target": row.target,
            "node": row.node,
            "reason": row.reason,
            "text": evidence,
            "relapses": row.relapses,
        }
        session.add(Event(at=self._clock(), kind=f"quarantine-{kind}", data=data))


def _open() -> Select[Quarantine]:
    return select(Quarantine).where(Quarantine.ended_at.is_(None))


def _of(session: Session, target: str) -> Quarantine:
    row = session.scalar(_open().where(Quarantine.target == target).with_for_update())
    if row is None:
        raise NotFoundError(f"{target!r} is not in quarantine; see 'bulkhead fleet'")
    return row


def _within(session: Session, target: Target, budget: QuarantineBudget) -> None:
    held = [row for row in session.scalars(_open()).all() if row.phase.holds]
    taken = sum(row.size for row in held if row.model == target.model)
    if taken and taken + target.size > budget.devices:
        raise ConflictError(
            f"{target.name}: {taken} devices of {target.model or 'its model'} are in quarantine and the budget is "
            f"{budget.devices}: something else may be wrong; look, then end some, or 'bulkhead quarantine start'"
        )
    nodes = {row.node for row in held}
    if budget.pool_others is not None and target.node not in nodes and not set(budget.pool_others) - nodes:
        raise ConflictError(
            f"{target.name}: node {target.node} is the last of pool {target.pool or '(none)'} that can work: not taken"
        )
