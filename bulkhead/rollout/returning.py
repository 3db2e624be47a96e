"""Giving all of a service's traffic to a revision that served before, in one step and without a judgement."""

from __future__ import annotations

from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Rollout
from bulkhead.rollout.plan import RETURN

_LATER = ("created_at",)


def request_return(ledger: Ledger, revision_id: str, *, key: str, requested_by: str, reason: str = "") -> Rollout:
    """Ask for it.

    Args:
        ledger: of the service.
        revision_id: of the revision.
        key: idempotency key of the wish.
        requested_by: who asked, for the record.
        reason: for people.

    Returns:
        The rollout that gives it the traffic.

    Raises:
        NotFoundError: there is no such revision.
        BusyError: another rollout of its service is in progress.
        ConflictError: it, or its model, is isolated.
    """
    revision = ledger.revision(revision_id)
    names = [column.name for column in revision.__table__.columns if column.name not in _LATER]
    columns = {name: getattr(revision, name) for name in names}
    plan = RETURN.model_dump(mode="json")
    return ledger.request_rollout(columns, plan, key=key, owner=requested_by, requested_by=requested_by, reason=reason)
