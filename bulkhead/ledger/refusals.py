"""What a request is refused for, inside its transaction."""

from __future__ import annotations

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from bulkhead.errors import BusyError, ConflictError
from bulkhead.ledger.tables import Intent, Isolation, Revision, Rollout
from bulkhead.rungs import Rung


def active(service: str) -> Select[Rollout]:
    """The query for a service's rollout in progress.

    Args:
        service: by name.
    """
    return select(Rollout).where(Rollout.service == service, Rollout.ended_at.is_(None))


def busy(service: str, holder: Rollout) -> BusyError:
    """That a service has a rollout in progress already.

    Args:
        service: by name.
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
        session: of the transaction.
        owner: see ``Ledger.request_rollout``.

    Raises:
        ConflictError: it was.
    """
    query = select(Intent).where(Intent.owner == owner, Intent.kind == "withdraw").order_by(Intent.id).limit(1)
    intent = session.scalar(query)
    if intent is not None:
        raise ConflictError(
            f"the release of {owner} was withdrawn at {intent.created_at:%H:%M:%S} UTC by {intent.requested_by} "
            f"({intent.reason}); clear the task to release again on purpose"
        )


def isolation_in_force(revision_id: str) -> Select[Isolation]:
    """The query for a revision's isolation.

    Args:
        revision_id: of the revision.
    """
    here = (Isolation.revision_id == revision_id) & (Isolation.rung == Rung.TRAFFIC)
    return select(Isolation).where(here, Isolation.released_at.is_(None))


def refuse_isolated(session: Session, revision_id: str, model_uri: str) -> None:
    """Refuse a revision that is isolated, and any other of a model that is.

    Args:
        session: of the transaction.
        revision_id: of the revision.
        model_uri: of its model.

    Raises:
        ConflictError: it is isolated.
    """
    itself = (Isolation.revision_id == revision_id) & (Isolation.rung == Rung.TRAFFIC)
    its_model = (Revision.model_uri == model_uri) & (Isolation.rung == Rung.MODEL)
    query = (
        select(Isolation, Revision)
        .join(Revision, Revision.id == Isolation.revision_id)
        .where(itself | its_model, Isolation.released_at.is_(None))
        .order_by(Isolation.id)
        .limit(1)
    )
    found = session.execute(query).first()
    if found is not None:
        isolation, revision = found
        raise ConflictError(
            f"revision {revision.id!r} (model {revision.model_uri}) is isolated since "
            f"{isolation.created_at:%Y-%m-%d %H:%M} UTC: {isolation.reason}; run 'bulkhead unisolate {revision.id}' "
            f"once that is mended"
        )
