"""Many services and rollouts at once, each list by a handful of queries however long it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from bulkhead.events import EventKind
from bulkhead.ledger.queries import active_rollout, existing, existing_service, failing, revision_before
from bulkhead.ledger.tables import Event, Isolation, Phase, Revision, Rollout, Service
from bulkhead.ledger.transactions import Transactions
from bulkhead.pods.identity import DAG_RUN

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
        going: id of the service's rollout in progress, if any.
        previous: id of the revision that rolling the service back would return to; None where there is none, something
            is in progress, or the rollout's revision is not the stable one.
        served: whether its revision has had all of the traffic once.
        releaser: the latest owner, of this rollout or one before it at its service, that is a DAG run; None where
            there is none.
        events: of the rollout, oldest first.
        isolations: of the revision, in force.
    """

    rollout: Rollout
    revision: Revision
    stable: Revision | None
    serving: str | None
    going: int | None
    previous: str | None
    served: bool
    releaser: str | None
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
            service, revision_id = rollout.service, rollout.revision_id
            isolated = (Isolation.revision_id == revision_id) & Isolation.ended_at.is_(None)
            serving = session.get_one(Service, service).stable_revision
            going = session.scalar(active_rollout(service))
            promoted = (Rollout.revision_id == revision_id) & (Rollout.phase == Phase.PROMOTED)
            return RolloutView(
                rollout,
                session.get_one(Revision, revision_id),
                session.get(Revision, rollout.stable_id) if rollout.stable_id else None,
                serving,
                None if going is None else going.id,
                revision_before(session, service, serving) if going is None and serving == revision_id else None,
                session.scalar(select(Rollout.id).where(promoted).limit(1)) is not None,
                session.scalar(_releaser(service, rollout_id)),
                list(session.scalars(select(Event).where(Event.rollout_id == rollout_id).order_by(Event.id))),
                list(session.scalars(select(Isolation).where(isolated).order_by(Isolation.id))),
            )


def _releaser(service: str, until: int) -> Select[str]:
    by_dag_runs = (Rollout.service == service) & (Rollout.id <= until) & Rollout.owner.startswith(DAG_RUN)
    return select(Rollout.owner).where(by_dag_runs).order_by(Rollout.id.desc()).limit(1)


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
