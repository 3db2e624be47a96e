"""Giving all of a service's traffic to a revision that served before, in one step and without a judgement."""

from __future__ import annotations

from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Rollout
from bulkhead.rollout.plan import RETURN

_LATER = ("created_at",)


def request_return(ledger: Ledger, revision_id: str, request: Request) -> Rollout:
    """Ask for it.

    Args:
        request: who asks, and also the rollout's owner.

    Returns:
        The rollout that gives it the traffic.

    Raises:
        NotFoundError: there is no such revision.
        BusyError: another rollout of its service is in progress.
        ConflictError: it, or its model, is isolated.
    """
    revision = ledger.revisions.get(revision_id)
    names = [column.name for column in revision.__table__.columns if column.name not in _LATER]
    columns = {name: getattr(revision, name) for name in names}
    return ledger.rollouts.request(columns, RETURN.model_dump(mode="json"), request, owner=request.requested_by)
