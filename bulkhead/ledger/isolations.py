"""Isolating revisions: what is isolated is given no traffic, whoever asks, until it is released again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Engine, select

from bulkhead.ledger.reader import LedgerReader
from bulkhead.ledger.tables import Event, Intent, Revision


class Isolations(LedgerReader):
    """The isolating part of the ledger.

    Args:
        engine: of an opened and migrated database.
        clock: gives the time in UTC.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        super().__init__(engine)
        self._clock = clock

    def isolated(self, service: str | None = None) -> Sequence[Revision]:
        """Revisions that are isolated, the latest first.

        Args:
            service: only this one's.
        """
        query = select(Revision).where(Revision.isolated_at.is_not(None)).order_by(Revision.isolated_at.desc())
        with self._reading() as session:
            return session.scalars(query.where(Revision.service == service) if service else query).all()

    def isolate(self, revision_id: str, *, key: str, reason: str, requested_by: str) -> Revision:
        """Keep a revision, and its model, away from traffic from now on; the reconciler takes away what it has.

        Args:
            revision_id: its id.
            key: idempotency key of the wish.
            reason: for people.
            requested_by: who asked, for the record.

        Returns:
            The revision as it is now.

        Raises:
            NotFoundError: there is none.
        """
        return self._set_isolation(revision_id, "isolate", key, reason, requested_by)

    def release(self, revision_id: str, *, key: str, reason: str, requested_by: str) -> Revision:
        """Take an isolation back. Nothing is given traffic by that.

        Args:
            revision_id: its id.
            key: idempotency key of the wish.
            reason: for people.
            requested_by: who asked, for the record.

        Returns:
            The revision as it is now.

        Raises:
            NotFoundError: there is none.
        """
        return self._set_isolation(revision_id, "release", key, reason, requested_by)

    def _set_isolation(self, revision_id: str, kind: str, key: str, reason: str, requested_by: str) -> Revision:
        self.revision(revision_id)
        with self._writing() as session:
            found = session.scalars(select(Revision).where(Revision.id == revision_id).with_for_update()).one()
            if session.scalar(select(Intent).where(Intent.key == key)) is not None:
                return found
            now, isolates = self._clock(), kind == "isolate"
            if isolates is (found.isolated_at is None):
                found.isolated_at, found.isolated_for = (now, reason) if isolates else (None, None)
            intent = Intent(key=key, kind=kind, service=found.service, target=revision_id, reason=reason)
            intent.requested_by, intent.created_at = requested_by, now
            session.add(intent)
            data = {"revision": revision_id, "reason": reason, "by": requested_by}
            session.add(Event(at=now, service=found.service, kind=kind, data=data))
            return found
