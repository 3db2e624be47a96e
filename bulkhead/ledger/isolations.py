"""Isolations: what is isolated is given no traffic, on any request, until its isolation is ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from bulkhead.errors import ConflictError
from bulkhead.events import EventKind, IntentKind
from bulkhead.isolation_levels import DEFAULT, IsolationLevel
from bulkhead.ledger.queries import existing, intent, isolation_in_force, recorded
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Event, Isolation, Revision
from bulkhead.ledger.transactions import Transactions


class Isolations(Transactions):
    """The isolations of one ledger."""

    def in_force(self, service: str | None = None) -> Sequence[Isolation]:
        """Revisions that are isolated, each once (at the level ``traffic``, which all have), the latest first."""
        query = (
            select(Isolation)
            .where(Isolation.ended_at.is_(None), Isolation.level == IsolationLevel.TRAFFIC)
            .order_by(Isolation.id.desc())
        )
        if service:
            query = query.join(Revision, Revision.id == Isolation.revision_id).where(Revision.service == service)
        with self._reading() as session:
            return session.scalars(query).all()

    def get(self, revision_id: str) -> Isolation | None:
        """A revision's isolation, or None if it is not isolated."""
        with self._reading() as session:
            return session.scalar(isolation_in_force(revision_id))

    def levels(self, revision_id: str) -> Sequence[Isolation]:
        """All levels of a revision that are in force, the first one asked for first."""
        in_force = (Isolation.revision_id == revision_id) & Isolation.ended_at.is_(None)
        with self._reading() as session:
            return session.scalars(select(Isolation).where(in_force).order_by(Isolation.id)).all()

    def unapplied(self) -> Sequence[Isolation]:
        """Levels that the world does not show yet, and released ones that it shows still, oldest first."""
        coming = Isolation.ended_at.is_(None) & Isolation.applied_at.is_(None)
        going = Isolation.ended_at.is_not(None) & Isolation.gone_at.is_(None)
        with self._reading() as session:
            return session.scalars(select(Isolation).where(or_(coming, going)).order_by(Isolation.id)).all()

    def isolate(
        self,
        revision_id: str,
        request: Request,
        *,
        levels: Iterable[IsolationLevel] = DEFAULT,
        budget: int | None = None,
    ) -> Revision:
        """Keep a revision away from traffic from now on; the reconciler takes away what it has.

        Args:
            levels: how far; ``traffic`` is always one of them. Those in force already keep their reason.
            budget: how many revisions of its service may be isolated at once; None: any number.

        Returns:
            The revision.

        Raises:
            NotFoundError: there is none.
            ConflictError: the budget is spent.
        """
        with self._writing() as session:
            revision = existing(session, Revision, revision_id, lock=True)
            if recorded(session, request) is not None:
                return revision
            in_force = (Isolation.revision_id == revision_id) & Isolation.ended_at.is_(None)
            present = set(session.scalars(select(Isolation.level).where(in_force)))
            if budget is not None and not present:
                _within(session, revision.service, budget)
            asked = [level for level in IsolationLevel if level in {IsolationLevel.TRAFFIC, *levels}]
            for level in asked:
                if level not in present:
                    row = Isolation(revision_id=revision_id, level=level, reason=request.reason)
                    row.requested_by, row.created_at = request.requested_by, self._clock()
                    session.add(row)
            self._record(session, revision, IntentKind.ISOLATE, EventKind.ISOLATE, request, asked)
            return revision

    def unisolate(self, revision_id: str, request: Request) -> Revision:
        """Take an isolation back, with all of its levels. Nothing is given traffic by that.

        Returns:
            The revision.

        Raises:
            NotFoundError: there is none.
        """
        with self._writing() as session:
            revision = existing(session, Revision, revision_id, lock=True)
            if recorded(session, request) is not None:
                return revision
            in_force = (Isolation.revision_id == revision_id) & Isolation.ended_at.is_(None)
            rows = session.scalars(select(Isolation).where(in_force).order_by(Isolation.id).with_for_update()).all()
            for row in rows:
                row.ended_at = self._clock()
            ended = [row.level for row in rows]
            self._record(session, revision, IntentKind.UNISOLATE, EventKind.UNISOLATE, request, ended)
            return revision

    def mark_applied(self, isolation: Isolation) -> bool:
        """Write that the world shows a level, or shows it no more.

        Args:
            isolation: as it was read.

        Returns:
            Whether it still was so; if not, it was isolated, or its isolation ended, meanwhile: poll again.
        """
        with self._writing() as session:
            row = session.scalars(select(Isolation).where(Isolation.id == isolation.id).with_for_update()).one()
            if row.ended_at != isolation.ended_at:
                return False
            coming, now = row.ended_at is None, self._clock()
            if (row.applied_at if coming else row.gone_at) is not None:
                return True
            if coming:
                row.applied_at = now
            else:
                row.gone_at = now
            revision = session.get_one(Revision, row.revision_id)
            data = {"revision": row.revision_id, "level": str(row.level)}
            kind = EventKind.ISOLATED if coming else EventKind.UNISOLATED
            session.add(Event(at=now, service=revision.service, kind=kind, data=data))
            return True

    def _record(
        self,
        session: Session,
        revision: Revision,
        intent_kind: IntentKind,
        event_kind: EventKind,
        request: Request,
        levels: Iterable[IsolationLevel],
    ) -> None:
        now, by = self._clock(), request.requested_by
        asked = intent(request, intent_kind, now, service=revision.service, target=revision.id)
        data = {"revision": revision.id, "reason": request.reason, "by": by, "levels": [str(level) for level in levels]}
        session.add_all([asked, Event(at=now, service=revision.service, kind=event_kind, data=data)])


def _within(session: Session, service: str, budget: int) -> None:
    query = (
        select(func.count())
        .select_from(Isolation)
        .join(Revision, Revision.id == Isolation.revision_id)
        .where(Revision.service == service, Isolation.level == IsolationLevel.TRAFFIC, Isolation.ended_at.is_(None))
    )
    taken = session.scalar(query) or 0
    if taken >= budget:
        raise ConflictError(
            f"service {service!r}: {taken} revisions are isolated and the budget is {budget}: something else may be "
            f"wrong; look, then end some by 'bulkhead unisolate', or isolate by 'bulkhead isolate', which has no budget"
        )
