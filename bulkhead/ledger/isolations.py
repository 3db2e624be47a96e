"""Isolating revisions: what is isolated is given no traffic, whoever asks, until it is released again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Engine, func, or_, select
from sqlalchemy.orm import Session

from bulkhead.errors import ConflictError
from bulkhead.events import EventKind
from bulkhead.ledger.reader import LedgerReader
from bulkhead.ledger.refusals import isolation_in_force
from bulkhead.ledger.tables import Event, Intent, Isolation, Revision
from bulkhead.rungs import DEFAULT, Rung


class Isolations(LedgerReader):
    """The isolating part of the ledger.

    Args:
        engine: of an opened and migrated database.
        clock: gives the time in UTC.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        super().__init__(engine)
        self._clock = clock

    def isolated(self, service: str | None = None) -> Sequence[Isolation]:
        """Revisions that are isolated, each once (at the rung ``traffic``, which all have), the latest first.

        Args:
            service: only this one's.
        """
        query = (
            select(Isolation)
            .where(Isolation.released_at.is_(None), Isolation.rung == Rung.TRAFFIC)
            .order_by(Isolation.id.desc())
        )
        if service:
            query = query.join(Revision, Revision.id == Isolation.revision_id).where(Revision.service == service)
        with self._reading() as session:
            return session.scalars(query).all()

    def isolation(self, revision_id: str) -> Isolation | None:
        """A revision's isolation, or None if it is not isolated.

        Args:
            revision_id: its id.
        """
        with self._reading() as session:
            return session.scalar(isolation_in_force(revision_id))

    def isolations(self, revision_id: str) -> Sequence[Isolation]:
        """All rungs of a revision that are in force, the first one asked for first.

        Args:
            revision_id: its id.
        """
        in_force = (Isolation.revision_id == revision_id) & Isolation.released_at.is_(None)
        with self._reading() as session:
            return session.scalars(select(Isolation).where(in_force).order_by(Isolation.id)).all()

    def unsettled_isolations(self) -> Sequence[Isolation]:
        """Rungs that the world does not show yet, and released ones that it shows still, oldest first."""
        coming = Isolation.released_at.is_(None) & Isolation.applied_at.is_(None)
        going = Isolation.released_at.is_not(None) & Isolation.gone_at.is_(None)
        with self._reading() as session:
            return session.scalars(select(Isolation).where(or_(coming, going)).order_by(Isolation.id)).all()

    def isolate(
        self,
        revision_id: str,
        *,
        key: str,
        reason: str,
        requested_by: str,
        rungs: Iterable[Rung] = DEFAULT,
        budget: int | None = None,
    ) -> Revision:
        """Keep a revision away from traffic from now on; the reconciler takes away what it has.

        Args:
            revision_id: its id.
            key: idempotency key of the wish.
            reason: for people.
            requested_by: who asked, for the record.
            rungs: of the ladder; ``traffic`` is always one of them. Those in force already keep their reason.
            budget: how many revisions of its service may be isolated at once; None: any number.

        Returns:
            The revision.

        Raises:
            NotFoundError: there is none.
            ConflictError: the budget is spent.
        """
        found = self.revision(revision_id)
        with self._writing() as session:
            if session.scalar(select(Intent).where(Intent.key == key)) is not None:
                return found
            session.scalars(select(Revision).where(Revision.id == revision_id).with_for_update()).one()
            in_force = (Isolation.revision_id == revision_id) & Isolation.released_at.is_(None)
            known = set(session.scalars(select(Isolation.rung).where(in_force)))
            if budget is not None and not known:
                _within(session, found.service, budget)
            wanted = [rung for rung in Rung if rung in {Rung.TRAFFIC, *rungs}]
            for rung in wanted:
                if rung not in known:
                    row = Isolation(revision_id=revision_id, rung=rung, reason=reason, requested_by=requested_by)
                    row.created_at = self._clock()
                    session.add(row)
            self._record(session, found, EventKind.ISOLATE, key, reason, requested_by, wanted)
            return found

    def unisolate(self, revision_id: str, *, key: str, reason: str, requested_by: str) -> Revision:
        """Take an isolation back, with all of its rungs. Nothing is given traffic by that.

        Args:
            revision_id: its id.
            key: idempotency key of the wish.
            reason: for people.
            requested_by: who asked, for the record.

        Returns:
            The revision.

        Raises:
            NotFoundError: there is none.
        """
        found = self.revision(revision_id)
        with self._writing() as session:
            if session.scalar(select(Intent).where(Intent.key == key)) is not None:
                return found
            in_force = (Isolation.revision_id == revision_id) & Isolation.released_at.is_(None)
            rows = session.scalars(select(Isolation).where(in_force).order_by(Isolation.id).with_for_update()).all()
            for row in rows:
                row.released_at = self._clock()
            self._record(session, found, EventKind.RELEASE, key, reason, requested_by, [row.rung for row in rows])
            return found

    def settle(self, isolation: Isolation) -> bool:
        """Write that the world shows a rung, or shows it no more.

        Args:
            isolation: as it was read.

        Returns:
            Whether it still was so; if not, somebody has isolated or released meanwhile: look again.
        """
        with self._writing() as session:
            row = session.scalars(select(Isolation).where(Isolation.id == isolation.id).with_for_update()).one()
            if row.released_at != isolation.released_at:
                return False
            coming, now = row.released_at is None, self._clock()
            if (row.applied_at if coming else row.gone_at) is not None:
                return True
            if coming:
                row.applied_at = now
            else:
                row.gone_at = now
            revision = session.get_one(Revision, row.revision_id)
            data = {"revision": row.revision_id, "rung": str(row.rung)}
            kind = EventKind.ISOLATED if coming else EventKind.RELEASED
            session.add(Event(at=now, service=revision.service, kind=kind, data=data))
            return True

    def _record(
        self,
        session: Session,
        revision: Revision,
        kind: EventKind,
        key: str,
        reason: str,
        requested_by: str,
        rungs: Iterable[Rung],
    ) -> None:
        now = self._clock()
        intent = Intent(key=key, kind=kind, service=revision.service, target=revision.id, reason=reason)
        intent.requested_by, intent.created_at = requested_by, now
        data = {"revision": revision.id, "reason": reason, "by": requested_by, "rungs": [str(one) for one in rungs]}
        session.add_all([intent, Event(at=now, service=revision.service, kind=kind, data=data)])


def _within(session: Session, service: str, budget: int) -> None:
    query = (
        select(func.count())
        .select_from(Isolation)
        .join(Revision, Revision.id == Isolation.revision_id)
        .where(Revision.service == service, Isolation.rung == Rung.TRAFFIC, Isolation.released_at.is_(None))
    )
    taken = session.scalar(query) or 0
    if taken >= budget:
        raise ConflictError(
            f"service {service!r}: {taken} revisions are isolated and the budget is {budget}: something else may be "
            f"wrong; look, then end some by 'bulkhead unisolate', or isolate by 'bulkhead isolate', which has no budget"
        )
