"""Many services and rollouts at once, each list by a handful of queries however long it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from bulkhead.events import EventKind
from bulkhead.ledger.queries import existing, existing_service, failing
from bulkhead.ledger.tables import Event, Isolation, Revision, Rollout, Service
from bulkhead.ledger.transactions import Transactions

_EVENTS_A_SERVICE = 20
"""Events that are read, in the middle, to say what fails at a service now."""


@dataclass(frozen=True)
class ServiceView:
    """A service with what belongs to it.

    Attributes:
        service: itself.
        stable: its stable revision; None before its first release.
        going: its rollout in progress, if any.
        last: its latest rollout that has ended, if any.
        failing: what fails now outside its rollouts' own steps: the error by the work that it ends.
        isolated: ids of its revisions that are isolated.
        revisions: of the rollouts, by id.
    """

    service: Service
    stable: Revision | None
    going: Rollout | None
    last: Rollout | None
    failing: Mapping[str, str]
    isolated: Sequence[str]
    revisions: Mapping[str, Revision]


@dataclass(frozen=True)
class RolloutView:
    """A rollout with what belongs to it.

    Attributes:
        rollout: itself.
        revision: that it releases.
        stable: the revision that it is to replace; None for a service's first.
        serving: id of the service's stable revision now.
        events: of the rollout, oldest first.
        isolations: of the revision, in force.
    """

    rollout: Rollout
    revision: Revision
    stable: Revision | None
    serving: str | None
    events: Sequence[Event]
    isolations: Sequence[Isolation]


class Overview(Transactions):
    """Lists over one ledger. Everything is read in one transaction, so what is shown together belongs together."""

    def services(self, name: str | None = None) -> Sequence[ServiceView]:
        """Every service, by name.

        Args:
            name: only this one.

        Raises:
            NotFoundError: nothing was ever released to it.
        """
        with self._reading() as session:
            rows = [existing_service(session, name)] if name is not None else _all(session)
            going = _by_service(session, name, Rollout.ended_at.is_(None))
            latest = select(func.max(Rollout.id)).where(Rollout.ended_at.is_not(None)).group_by(Rollout.service)
            last = _by_service(session, name, Rollout.id.in_(latest))
            rollouts = [*going.values(), *last.values()]
            revisions = _revisions(session, {row.stable_revision for row in rows}, rollouts)
            failing, isolated = _failing(session, name, len(rows)), _isolated(session)
            return [
                ServiceView(
                    row,
                    revisions.get(row.stable_revision or ""),
                    going.get(row.name),
                    last.get(row.name),
                    failing.get(row.name, {}),
                    isolated.get(row.name, []),
                    revisions,
                )
                for row in rows
            ]

    def rollouts(
        self, service: str | None = None, owner: str | None = None, before: int | None = None, limit: int = 50
    ) -> Sequence[tuple[Rollout, Revision]]:
        """Rollouts with their revisions, newest first.

        Args:
            owner: only those that it asked for.
            before: only those older than the one of this id.
            limit: at most so many.
        """
        query = select(Rollout, Revision).join(Revision, Revision.id == Rollout.revision_id)
        for column, value in ((Rollout.service, service), (Rollout.owner, owner)):
            query = query if value is None else query.where(column == value)
        query = query if before is None else query.where(Rollout.id < before)
        query = query.order_by(Rollout.id.desc()).limit(limit)
        with self._reading() as session:
            return [(rollout, revision) for rollout, revision in session.execute(query)]

    def rollout(self, rollout_id: int) -> RolloutView:
        """One rollout.

        Raises:
            NotFoundError: there is none.
        """
        with self._reading() as session:
            rollout = existing(session, Rollout, rollout_id)
            isolations = select(Isolation).where(
                Isolation.revision_id == rollout.revision_id, Isolation.ended_at.is_(None)
            )
            events = select(Event).where(Event.rollout_id == rollout_id).order_by(Event.id)
            return RolloutView(
                rollout,
                session.get_one(Revision, rollout.revision_id),
                session.get(Revision, rollout.stable_id) if rollout.stable_id else None,
                session.get_one(Service, rollout.service).stable_revision,
                list(session.scalars(events)),
                list(session.scalars(isolations.order_by(Isolation.id))),
            )


def _all(session: Session) -> list[Service]:
    return list(session.scalars(select(Service).order_by(Service.name)))


def _by_service(session: Session, name: str | None, chosen: ColumnElement[bool]) -> dict[str, Rollout]:
    query = select(Rollout).where(chosen)
    rollouts = session.scalars(query if name is None else query.where(Rollout.service == name))
    return {rollout.service: rollout for rollout in rollouts}


def _revisions(session: Session, stable: set[str | None], rollouts: Sequence[Rollout]) -> dict[str, Revision]:
    ids = stable | {rollout.revision_id for rollout in rollouts}
    query = select(Revision).where(Revision.id.in_([name for name in ids if name]))
    return {revision.id: revision for revision in session.scalars(query)}


def _failing(session: Session, name: str | None, services: int) -> dict[str, dict[str, str]]:
    kinds = Event.kind.in_((EventKind.FAILING, EventKind.RECOVERED))
    query = select(Event).where(kinds).order_by(Event.id.desc()).limit(_EVENTS_A_SERVICE * services)
    query = query if name is None else query.where(Event.service == name)
    events: dict[str, list[Event]] = {}
    for event in reversed(session.scalars(query).all()):
        events.setdefault(event.service or "", []).append(event)
    return {service: failing(of_service) for service, of_service in events.items()}


def _isolated(session: Session) -> dict[str, list[str]]:
    query = (
        select(Revision.service, Revision.id)
        .join(Isolation, Isolation.revision_id == Revision.id)
        .where(Isolation.ended_at.is_(None))
        .distinct()
        .order_by(Revision.id)
    )
    isolated: dict[str, list[str]] = {}
    for service, revision in session.execute(query):
        isolated.setdefault(service, []).append(revision)
    return isolated
