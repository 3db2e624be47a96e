"""Reading the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bulkhead.errors import NotFoundError
from bulkhead.events import EventKind
from bulkhead.ledger.refusals import active, isolation_in_force
from bulkhead.ledger.tables import Event, Intent, Phase, Revision, Rollout, Service
from bulkhead.ledger.transactions import Transactions

_LATEST = 20
"""Events that are read to say what fails now."""


class LedgerReader(Transactions):
    """The reading half of the ledger."""

    def service(self, name: str) -> Service:
        """One service.

        Args:
            name: of the service.

        Raises:
            NotFoundError: nothing was ever released to it.
        """
        with self._reading() as session:
            return _service(session, name)

    def services(self) -> Sequence[Service]:
        """Every service that something was ever released to, by name."""
        with self._reading() as session:
            return session.scalars(select(Service).order_by(Service.name)).all()

    def revision(self, revision_id: str) -> Revision:
        """One revision.

        Args:
            revision_id: its id.

        Raises:
            NotFoundError: there is none.
        """
        with self._reading() as session:
            found = session.get(Revision, revision_id)
        if found is None:
            raise NotFoundError(f"no revision {revision_id!r} in the ledger")
        return found

    def rollout(self, rollout_id: int) -> Rollout:
        """One rollout.

        Args:
            rollout_id: its id.

        Raises:
            NotFoundError: there is none.
        """
        with self._reading() as session:
            found = session.get(Rollout, rollout_id)
        if found is None:
            raise NotFoundError(f"no rollout {rollout_id} in the ledger")
        return found

    def active_rollouts(self) -> Sequence[Rollout]:
        """Every rollout in progress, oldest first."""
        with self._reading() as session:
            return session.scalars(select(Rollout).where(Rollout.ended_at.is_(None)).order_by(Rollout.id)).all()

    def active_rollout(self, service: str) -> Rollout | None:
        """A service's rollout in progress, or None.

        Args:
            service: by name.
        """
        with self._reading() as session:
            return session.scalar(active(service))

    def rollouts(self, service: str | None = None, owner: str | None = None, limit: int = 20) -> Sequence[Rollout]:
        """The latest rollouts, newest first.

        Args:
            service: only this one's.
            owner: only those that it asked for.
            limit: at most so many.
        """
        query = select(Rollout).order_by(Rollout.id.desc()).limit(limit)
        query = query.where(Rollout.service == service) if service else query
        query = query.where(Rollout.owner == owner) if owner else query
        with self._reading() as session:
            return session.scalars(query).all()

    def serving(self, service: str | None = None) -> frozenset[str]:
        """Revisions that have traffic, or are about to: those of rollouts until they are contained, and stable ones
        until a rollout gives all of their traffic to another.

        Args:
            service: only this one's.
        """
        going = select(Rollout.revision_id).where(Rollout.ended_at.is_(None), Rollout.contained_at.is_(None))
        stable = select(Service.stable_revision).where(Service.stable_revision.is_not(None))
        if service is not None:
            going, stable = going.where(Rollout.service == service), stable.where(Service.name == service)
        with self._reading() as session:
            return frozenset([*session.scalars(going), *(one for one in session.scalars(stable) if one)])

    def events(
        self,
        rollout_id: int | None = None,
        kind: str | None = None,
        service: str | None = None,
        since: datetime | None = None,
        after: int = 0,
    ) -> Sequence[Event]:
        """Events in the order in which they were written.

        Args:
            rollout_id: only this rollout's.
            kind: only this kind.
            service: only this service's.
            since: only those at or after this time.
            after: only those whose id is above this one.
        """
        query = select(Event).where(Event.id > after).order_by(Event.id)
        wanted = ((Event.rollout_id, rollout_id), (Event.kind, kind), (Event.service, service))
        for column, value in wanted:
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(Event.at >= since)
        with self._reading() as session:
            return session.scalars(query).all()

    def latest_events(self, rollout_ids: Iterable[int]) -> dict[int, int]:
        """Id of the latest event of each rollout, which is greater than those of all before it.

        Args:
            rollout_ids: of which; those without an event are left out.
        """
        query = select(Event.rollout_id, func.max(Event.id)).where(Event.rollout_id.in_(list(rollout_ids)))
        with self._reading() as session:
            return {rollout: latest for rollout, latest in session.execute(query.group_by(Event.rollout_id)) if rollout}

    def intents(self, kind: str) -> Sequence[Intent]:
        """Intents of a kind, oldest first.

        Args:
            kind: ``rollout``, ``rollback`` or ``withdraw``.
        """
        with self._reading() as session:
            return session.scalars(select(Intent).where(Intent.kind == kind).order_by(Intent.id)).all()

    def intent(self, *keys: str) -> Intent | None:
        """A wish that was recorded already; None where none was.

        Args:
            keys: idempotency keys, of which any counts.
        """
        with self._reading() as session:
            return session.scalar(select(Intent).where(Intent.key.in_(keys)).limit(1))

    def ping(self) -> None:
        """Make sure that the ledger answers.

        Raises:
            UnavailableError: it does not.
        """
        with self._reading() as session:
            session.execute(select(1))

    def failing(self, service: str) -> dict[str, str]:
        """What fails at a service now, outside its rollouts' own steps: the error by the work that it ends.

        Args:
            service: by name.
        """
        kinds = Event.kind.in_((EventKind.FAILING, EventKind.RECOVERED))
        query = select(Event).where(Event.service == service, kinds).order_by(Event.id.desc()).limit(_LATEST)
        found: dict[str, str] = {}
        with self._reading() as session:
            for event in reversed(session.scalars(query).all()):
                if event.kind == EventKind.FAILING:
                    found[event.data["for"]] = event.data["why"]
                else:
                    found.pop(event.data["for"], None)
        return found

    def previous_revision(self, service: str) -> str:
        """The revision that a service's stable one replaced; one that is isolated is left out, for the one before.

        Args:
            service: by name.

        Raises:
            NotFoundError: there is none to go back to.
        """
        with self._reading() as session:
            stable = now = _service(session, service).stable_revision
            passed = {now}
            while now is not None:
                query = (
                    select(Rollout.stable_id)
                    .where(Rollout.service == service, Rollout.revision_id == now, Rollout.phase == Phase.PROMOTED)
                    .order_by(Rollout.id)
                    .limit(1)
                )
                now = session.scalar(query)
                found = session.get(Revision, now) if now is not None and now not in passed else None
                if found is None:
                    break
                if session.scalar(isolation_in_force(found.id)) is None:
                    return found.id
                passed.add(now)
        raise NotFoundError(f"service {service!r} has no earlier revision than {stable!r} to roll back to")


def _service(session: Session, name: str) -> Service:
    found = session.get(Service, name)
    if found is None:
        known = ", ".join(session.scalars(select(Service.name).order_by(Service.name))) or "none"
        raise NotFoundError(f"unknown service {name!r}; services in the ledger: {known}")
    return found
