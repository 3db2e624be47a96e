"""Many services and rollouts at once, each list by a handful of queries however long it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session, aliased

from bulkhead.errors import NotFoundError
from bulkhead.ledger.changes import NOTHING_KNOWN, Changes, changes_query, merged
from bulkhead.ledger.queries import existing_service, revision_before
from bulkhead.ledger.service_standing import ServiceStanding, standings
from bulkhead.ledger.tables import Event, Isolation, Phase, Revision, Rollout, Service
from bulkhead.ledger.transactions import Transactions
from bulkhead.pods.identity import DAG_RUN


@dataclass(frozen=True)
class ServiceView:
    """A service with what belongs to it.

    Attributes:
        standing: what tells how much it wants a person.
        stable: its stable revision; None before its first release.
        going: its rollout in progress, if any.
        last: its latest rollout that has ended, if any.
        revisions: of the rollouts, by id.
    """

    standing: ServiceStanding
    stable: Revision | None
    going: Rollout | None
    last: Rollout | None
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

    def changes(self, before: Changes = NOTHING_KNOWN) -> Changes:
        """How far the ledger has come: one short query.

        Args:
            before: what this has returned last.
        """
        with self._reading() as session:
            return merged(before, session.execute(changes_query(before)).all())

    def services(
        self, urgency: Callable[[ServiceStanding], int], search: str = "", offset: int = 0, limit: int = 50
    ) -> tuple[Sequence[ServiceView], int]:
        """Part of the services, the most urgent first, then by name.

        Args:
            urgency: of a service; the smallest comes first.
            search: part of the name, in whatever case; empty for every one.
            offset: how many to leave out.
            limit: at most so many.

        Returns:
            They, and how many there are in all pages.
        """
        with self._reading() as session:
            rows = [row for row in standings(session) if search.casefold() in row.service.casefold()]
            rows.sort(key=lambda row: (urgency(row), row.service))
            return _views(session, rows[offset : offset + limit]), len(rows)

    def service(self, name: str) -> ServiceView:
        """One service.

        Raises:
            NotFoundError: nothing was ever released to it.
        """
        with self._reading() as session:
            rows = standings(session, name)
            if not rows:
                existing_service(session, name)  # says which there are
            return _views(session, rows)[0]

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
            row = session.execute(_rollout(rollout_id)).one_or_none()
            if row is None:
                raise NotFoundError(f"no rollout {rollout_id} in the ledger")
            rollout, revision, stable, serving, going, served, releaser = row
            service, revision_id = rollout.service, rollout.revision_id
            isolated = (Isolation.revision_id == revision_id) & Isolation.ended_at.is_(None)
            return RolloutView(
                rollout,
                revision,
                stable,
                serving,
                going,
                revision_before(session, service, serving) if going is None and serving == revision_id else None,
                served,
                releaser,
                list(session.scalars(select(Event).where(Event.rollout_id == rollout_id).order_by(Event.id))),
                list(session.scalars(select(Isolation).where(isolated).order_by(Isolation.id))),
            )


def _rollout(rollout_id: int) -> Select[Any]:
    """A rollout with its revision, the one it is to replace, and, by the service: what serves, what is in progress,
    whether the revision has had all of the traffic, and which DAG run has released last."""
    of_service, stable = aliased(Rollout), aliased(Revision)
    here = of_service.service == Rollout.service
    going = select(of_service.id).where(here, of_service.ended_at.is_(None)).limit(1)
    promoted = (of_service.revision_id == Rollout.revision_id) & (of_service.phase == Phase.PROMOTED)
    by_dag_runs = here & (of_service.id <= Rollout.id) & of_service.owner.startswith(DAG_RUN)
    releaser = select(of_service.owner).where(by_dag_runs).order_by(of_service.id.desc()).limit(1)
    return (
        select(
            Rollout,
            Revision,
            stable,
            Service.stable_revision,
            going.scalar_subquery(),
            exists().where(here, promoted),
            releaser.scalar_subquery(),
        )
        .join(Revision, Revision.id == Rollout.revision_id)
        .join(Service, Service.name == Rollout.service)
        .outerjoin(stable, stable.id == Rollout.stable_id)
        .where(Rollout.id == rollout_id)
    )


def _views(session: Session, chosen: Sequence[ServiceStanding]) -> list[ServiceView]:
    ids = [mark.id for row in chosen for mark in (row.going, row.last) if mark is not None]
    query = select(Rollout, Revision).join(Revision, Revision.id == Rollout.revision_id).where(Rollout.id.in_(ids))
    rows = session.execute(query).all()
    rollouts = {rollout.id: rollout for rollout, _ in rows}
    stable = [row.stable for row in chosen if row.stable is not None]
    revisions = {revision.id: revision for _, revision in rows}
    revisions |= {row.id: row for row in session.scalars(select(Revision).where(Revision.id.in_(stable)))}
    return [
        ServiceView(
            row,
            revisions[row.stable] if row.stable is not None else None,
            rollouts[row.going.id] if row.going is not None else None,
            rollouts[row.last.id] if row.last is not None else None,
            revisions,
        )
        for row in chosen
    ]
