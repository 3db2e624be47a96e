"""How much each service wants a person: light enough to rank all of them, however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bulkhead.events import EventKind
from bulkhead.ledger.queries import failing
from bulkhead.ledger.tables import Event, FleetDevice, Isolation, Phase, Revision, Rollout, Service
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


class RolloutMark(NamedTuple):
    """Which rollout, and where it stands."""

    id: int
    service: str
    revision_id: str
    phase: Phase


@dataclass(frozen=True)
class ServiceStanding:
    """What tells how much a service wants a person.

    Attributes:
        service: its name.
        stable: id of its stable revision; None before its first release.
        going: its rollout in progress, if any.
        last: its latest rollout that has ended, if any.
        failing: what fails now outside its rollouts' own steps: the error by the work that it ends.
        isolated: ids of its revisions that are isolated.
        devices: that the pods of its stable revision, and of the one in progress, have.
    """

    service: str
    stable: str | None
    going: RolloutMark | None
    last: RolloutMark | None
    failing: Mapping[str, str]
    isolated: Sequence[str]
    devices: Sequence[PodDevices]


def standings(session: Session, name: str | None = None) -> list[ServiceStanding]:
    """Those of all services, by name.

    Args:
        name: only of this one.
    """
    query = select(Service.name, Service.stable_revision).order_by(Service.name)
    services = session.execute(query if name is None else query.where(Service.name == name)).all()
    marks = _latest_rollouts(session, name)
    going = {mark.service: mark for mark in marks if not mark.phase.ended}
    last = {mark.service: mark for mark in marks if mark.phase.ended}
    fails, isolated = _failing(session, name, len(services)), _isolated(session)
    serving = {row: _serving(stable, going.get(row)) for row, stable in services}
    devices = _devices(session, chain.from_iterable(serving.values()))
    return [
        ServiceStanding(
            row,
            stable,
            going.get(row),
            last.get(row),
            fails.get(row, {}),
            isolated.get(row, []),
            [of_pod for revision_id in serving[row] for of_pod in devices.get(revision_id, ())],
        )
        for row, stable in services
    ]


def _serving(stable: str | None, going: RolloutMark | None) -> set[str]:
    """Ids of the revisions that may have pods."""
    return {name for name in (stable, going and going.revision_id) if name}


def _latest_rollouts(session: Session, name: str | None) -> list[RolloutMark]:
    """Of each service, the rollout in progress and the latest that has ended."""
    latest = select(func.max(Rollout.id)).group_by(Rollout.service)
    going = Rollout.ended_at.is_(None)
    before_those = latest.where(~going, Rollout.service.in_(select(Rollout.service).where(going)))
    chosen = going | Rollout.id.in_(latest) | Rollout.id.in_(before_those)
    query = select(Rollout.id, Rollout.service, Rollout.revision_id, Rollout.phase).where(chosen)
    rows = session.execute(query if name is None else query.where(Rollout.service == name))
    return [RolloutMark(*row) for row in rows]


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
