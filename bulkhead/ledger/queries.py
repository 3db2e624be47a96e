"""What several parts of the ledger ask inside their transactions: rows, and what a request is refused for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from bulkhead.errors import BusyError, ConflictError, NotFoundError
from bulkhead.events import EventKind, IntentKind
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Base, Event, Intent, Isolation, Phase, Revision, Rollout, Service

Row = TypeVar("Row", bound=Base)


def existing(session: Session, table: type[Row], key: str | int, *, lock: bool = False) -> Row:
    """A row by its primary key.

    Args:
        lock: whether it is locked until the transaction ends.

    Raises:
        NotFoundError: there is none.
    """
    row = session.get(table, key, with_for_update=lock or None)
    if row is None:
        raise NotFoundError(f"no {table.__name__.lower()} {key!r} in the ledger")
    return row


def active_rollout(service: str) -> Select[Rollout]:
    """The query for a service's rollout in progress."""
    return select(Rollout).where(Rollout.service == service, Rollout.ended_at.is_(None))


def failing(events: Iterable[Event]) -> dict[str, str]:
    """What fails at a service now, outside its rollouts' own steps: the error by the work that it ends.

    Args:
        events: the latest of it that say so, or that it is over; oldest first.
    """
    why_of: dict[str, str] = {}
    for event in events:
        if event.kind == EventKind.FAILING:
            why_of[event.data["for"]] = event.data["why"]
        else:
            why_of.pop(event.data["for"], None)
    return why_of


def existing_service(session: Session, name: str) -> Service:
    """A service's row.

    Raises:
        NotFoundError: nothing was ever released to it.
    """
    service = session.get(Service, name)
    if service is None:
        names = ", ".join(session.scalars(select(Service.name).order_by(Service.name))) or "none"
        raise NotFoundError(f"unknown service {name!r}; services in the ledger: {names}")
    return service


def locked_service(session: Session, name: str) -> Service:
    """A service's row, made if there is none, and locked until the transaction ends."""
    service = session.scalar(select(Service).where(Service.name == name).with_for_update())
    if service is None:
        service = Service(name=name, generation=0)
        session.add(service)
        session.flush()
    return service


def revision_before(session: Session, service: str, stable: str | None) -> str | None:
    """The revision that a service's stable one replaced; one that is isolated is left out, for the one before.

    Args:
        stable: the stable revision, as it was read.

    Returns:
        Its id; None where there is none to go back to.
    """
    now, passed = stable, {stable}
    while now is not None:
        promoted = (Rollout.service == service) & (Rollout.revision_id == now) & (Rollout.phase == Phase.PROMOTED)
        now = session.scalar(select(Rollout.stable_id).where(promoted).order_by(Rollout.id).limit(1))
        revision = session.get(Revision, now) if now is not None and now not in passed else None
        if revision is None:
            return None
        if session.scalar(isolation_in_force(revision.id)) is None:
            return revision.id
        passed.add(now)
    return None


def recorded(session: Session, request: Request) -> Intent | None:
    """The intent that the same request has left before; None where it comes for the first time."""
    return session.scalar(select(Intent).where(Intent.key == request.key))


def intent(request: Request, kind: IntentKind, at: datetime, **about: Any) -> Intent:
    """A request as the intent to be recorded.

    Args:
        about: further columns: what it is about.
    """
    asked = {"key": request.key, "reason": request.reason, "requested_by": request.requested_by}
    return Intent(kind=kind, created_at=at, **asked, **about)


def busy(service: str, holder: Rollout) -> BusyError:
    """That a service has a rollout in progress already.

    Args:
        holder: the rollout in progress.
    """
    return BusyError(
        f"service {service!r}: rollout {holder.id} of revision {holder.revision_id!r} is {holder.phase} for "
        f"{holder.owner}; wait for it, or run 'bulkhead rollback {service}'",
        holder.id,
        holder.key,
    )


def refuse_withdrawn(session: Session, owner: str) -> None:
    """Refuse an owner's release that was withdrawn.

    Args:
        owner: see ``Rollouts.request``.

    Raises:
        ConflictError: it was.
    """
    query = select(Intent).where(Intent.owner == owner, Intent.kind == IntentKind.WITHDRAW).order_by(Intent.id).limit(1)
    withdrawal = session.scalar(query)
    if withdrawal is not None:
        raise ConflictError(
            f"the release of {owner} was withdrawn at {withdrawal.created_at:%H:%M:%S} UTC by "
            f"{withdrawal.requested_by} ({withdrawal.reason}); clear the task to release again on purpose"
        )


def isolation_in_force(revision_id: str) -> Select[Isolation]:
    """The query for a revision's isolation."""
    here = (Isolation.revision_id == revision_id) & (Isolation.level == IsolationLevel.TRAFFIC)
    return select(Isolation).where(here, Isolation.ended_at.is_(None))


def refuse_isolated(session: Session, revision_id: str, model_uri: str) -> None:
    """Refuse a revision that is isolated, and any other of a model that is.

    Raises:
        ConflictError: it is isolated.
    """
    itself = (Isolation.revision_id == revision_id) & (Isolation.level == IsolationLevel.TRAFFIC)
    its_model = (Revision.model_uri == model_uri) & (Isolation.level == IsolationLevel.MODEL)
    query = (
        select(Isolation, Revision)
        .join(Revision, Revision.id == Isolation.revision_id)
        .where(itself | its_model, Isolation.ended_at.is_(None))
        .order_by(Isolation.id)
        .limit(1)
    )
    blocking = session.execute(query).first()
    if blocking is not None:
        isolation, revision = blocking
        raise ConflictError(
            f"revision {revision.id!r} (model {revision.model_uri}) is isolated since "
            f"{isolation.created_at:%Y-%m-%d %H:%M} UTC: {isolation.reason}; run 'bulkhead unisolate {revision.id}' "
            f"once that is mended"
        )
