"""Approvals: a person agrees that a rollout goes on from the step at which it waits."""

from __future__ import annotations

from sqlalchemy import select

from bulkhead.errors import ConflictError
from bulkhead.events import EventKind, IntentKind
from bulkhead.ledger.queries import existing, intent, recorded
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Event, Intent, Phase, Rollout
from bulkhead.ledger.transactions import Transactions


class Approvals(Transactions):
    """The approvals of one ledger."""

    def approve(self, rollout_id: int, request: Request, *, step: int | None = None) -> Rollout:
        """Agree that a rollout goes on from its step. The reconciler sees it at its next poll.

        Args:
            step: index of the step that was approved; None: the one at which it waits.

        Returns:
            The rollout as it is now.

        Raises:
            NotFoundError: there is none.
            ConflictError: it does not wait for anybody, or at another step.
        """
        with self._writing() as session:
            rollout = existing(session, Rollout, rollout_id, lock=True)
            if recorded(session, request) is not None:
                return rollout
            if rollout.phase is not Phase.APPROVING:
                raise ConflictError(
                    f"rollout {rollout_id} of service {rollout.service!r} is {rollout.phase}: it waits for no "
                    f"approval; a step of its plan needs 'approve: true' for that"
                )
            if step not in (None, rollout.step):
                raise ConflictError(
                    f"rollout {rollout_id} of service {rollout.service!r} waits at step {rollout.step + 1}: what was "
                    f"approved is step {step + 1}"
                )
            now, on = self._clock(), {"service": rollout.service, "rollout_id": rollout_id}
            approval = intent(request, IntentKind.APPROVE, now, target=str(rollout.step), **on)
            data = {"step": rollout.step, "by": request.requested_by, "reason": request.reason}
            session.add_all([approval, Event(at=now, kind=EventKind.APPROVED, data=data, **on)])
            return rollout

    def approved(self, rollout: Rollout) -> bool:
        """Whether a person has agreed that a rollout goes on from its step.

        Args:
            rollout: as it was read.
        """
        here = (Intent.rollout_id == rollout.id) & (Intent.target == str(rollout.step))
        with self._reading() as session:
            return session.scalar(select(Intent.id).where(Intent.kind == IntentKind.APPROVE, here).limit(1)) is not None
