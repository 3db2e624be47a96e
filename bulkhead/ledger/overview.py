"""Many services and rollouts at once, each list by a handful of queries however long it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from bulkhead.errors import NotFoundError
from bulkhead.events import EventKind
from bulkhead.ledger.changes import Changes, Part, latest
from bulkhead.ledger.queries import existing_service, failing, revision_before
from bulkhead.ledger.tables import Event, FleetDevice, Isolation, Phase, Revision, Rollout, Service
from bulkhead.ledger.transactions import Transactions
from bulkhead.pods.identity import DAG_RUN
from bulkhead.pods.serving_names import RevisionsOfPods

_EVENTS_A_SERVICE = 20
"""Events that are read, in the middle, to say what fails at a service now."""


@dataclass(frozen=True)
class PodDevices:
    """Devices of one pod that stand alike, as the fleet's watch has left it.

    Attributes:
        job: the pod, as ``namespace/name``.
        health: how they stand.
        count: of them.
        uuid: of one of them.
        node: that they are on.
        evidence: against one of them.
    """

    job: str
    health: str
    count: int
    uuid: str
    node: str
    evidence: str


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
        devices: that the pods of its stable revision, and of the one in progress, have.
        revisions: of the rollouts, by id.
    """

    service: Service
    stable: Revision | None
    going: Rollout | None
    last: Rollout | None
    failing: Mapping[str, str]
    isolated: Sequence[str]
    devices: Sequence[PodDevices]
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

    def changes(self) -> Changes:
        """How far the ledger has come: one short query."""
        with self._reading() as session:
            return dict(zip(Part, session.execute(latest()).one(), strict=True))

    def services(self, name: str | None = None) -> Sequence[ServiceView]:
        """Every service, by name.

        Args:
            name: only this one.

        Raises:
            NotFoundError: nothing was ever released to it.
        """
        with self._reading() as session:
            stable = _stable_revisions(session, name)
            rollouts = _latest_rollouts(session, name)
            failing, isolated = _failing(session, name, len(stable)), _isolated(session)
            revisions = {revision.id: revision for _, revision in rollouts}
            going = {rollout.service: rollout for rollout, _ in rollouts if rollout.ended_at is None}
            last = {rollout.service: rollout for rollout, _ in rollouts if rollout.ended_at is not None}
            serving = {row.name: _serving(row, going.get(row.name)) for row, _ in stable}
            devices = _devices(session, chain.from_iterable(serving.values()))
        return [
            ServiceView(
                row,
                revision,
                going.get(row.name),
                last.get(row.name),
                failing.get(row.name, {}),
                isolated.get(row.name, []),
                [of_pod for revision_id in serving[row.name] for of_pod in devices.get(revision_id, ())],
                revisions,
            )
            for row, revision in stable
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


def _stable_revisions(session: Session, name: str | None) -> Sequence[tuple[Service, Revision | None]]:
    """Services, by name, with what each serves.

    Raises:
        NotFoundError: there is none of the name.
    """
    query = select(Service, Revision).outerjoin(Revision, Revision.id == Service.stable_revision)
    query = query.order_by(Service.name) if name is None else query.where(Service.name == name)
    rows = [(service, revision) for service, revision in session.execute(query)]
    if name is not None and not rows:
        existing_service(session, name)  # says which there are
    return rows


def _latest_rollouts(session: Session, name: str | None) -> list[tuple[Rollout, Revision]]:
    """Of each service, the rollout in progress and the latest that has ended."""
    ended = select(func.max(Rollout.id)).where(Rollout.ended_at.is_not(None)).group_by(Rollout.service)
    chosen = Rollout.ended_at.is_(None) | Rollout.id.in_(ended)
    query = select(Rollout, Revision).join(Revision, Revision.id == Rollout.revision_id).where(chosen)
    rows = session.execute(query if name is None else query.where(Rollout.service == name))
    return [(rollout, revision) for rollout, revision in rows]


def _serving(service: Service, going: Rollout | None) -> set[str]:
    """The revisions that may have pods."""
    return {name for name in (service.stable_revision, going and going.revision_id) if name}


def _devices(session: Session, revisions: Iterable[str]) -> dict[str, list[PodDevices]]:
    """Devices that the pods of revisions have, by revision."""
    job, health, uuid = FleetDevice.job, FleetDevice.health, func.min(FleetDevice.uuid)
    query = (
        select(job, health, func.count(), uuid, func.min(FleetDevice.node), func.min(FleetDevice.evidence))
        .where(job != "")
        .group_by(job, health)
    )
    of_pods = RevisionsOfPods(revisions)
    devices: dict[str, list[PodDevices]] = {}
    for row in session.execute(query):
        if (revision := of_pods.find(row[0])) is not None:
            devices.setdefault(revision, []).append(PodDevices(*row))
    return devices


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
