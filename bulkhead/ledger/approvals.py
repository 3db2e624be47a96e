"""Approvals: a person agrees that a rollout goes on from a step, or has it skip what is left before the last one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from bulkhead.errors import ConflictError
from bulkhead.events import EventKind, IntentKind
from bulkhead.ledger.queries import existing, intent, recorded
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Event, Intent, Phase, Rollout
from bulkhead.ledger.transactions import Transactions


class Approvals(Transactions):
    """What people agreed to, in one ledger."""

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
                    f"{_named(rollout)} is {rollout.phase}: it waits for no approval; a step of its plan needs "
                    f"'approve: true' for that"
                )
            if step not in (None, rollout.step):
                raise ConflictError(
                    f"{_named(rollout)} waits at step {rollout.step + 1}: what was approved is step {step + 1}"
                )
            self._record(session, rollout, request, IntentKind.APPROVE, EventKind.APPROVED)
            return rollout

    def promote(self, rollout_id: int, request: Request) -> Rollout:
        """Have a rollout go to the last step of its plan at once, without approvals and evidence of those between.

        The reconciler sees it at its next poll, and judges the candidate at the last step as by plan.

        Returns:
            The rollout as it is now.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is at no step, or at its last one.
        """
        with self._writing() as session:
            rollout = existing(session, Rollout, rollout_id, lock=True)
            if recorded(session, request) is not None:
                return rollout
            if not rollout.phase.at_step:
                raise ConflictError(
                    f"{_named(rollout)} is {rollout.phase}: only one that is at a step of its plan can skip the others"
                )
            if not rollout.may_skip:
                raise ConflictError(f"{_named(rollout)} is at the last step of its plan already")
            self._record(session, rollout, request, IntentKind.PROMOTE, EventKind.SKIPPING)
            return rollout

    def approved(self, rollout: Rollout) -> bool:
        """Whether a person has agreed that a rollout goes on from its step.

        Args:
            rollout: as it was read.
        """
        return self._any(IntentKind.APPROVE, rollout, Intent.target == str(rollout.step))

    def promoted(self, rollout: Rollout) -> bool:
        """Whether a person has it go to the last step of its plan, at whichever step that was asked.

        Args:
            rollout: as it was read.
        """
        return self._any(IntentKind.PROMOTE, rollout)

    def _record(self, session: Session, rollout: Rollout, request: Request, kind: IntentKind, event: EventKind) -> None:
        now, on = self._clock(), {"service": rollout.service, "rollout_id": rollout.id}
        data: dict[str, Any] = {"step": rollout.step, "by": request.requested_by, "reason": request.reason}
        asked = intent(request, kind, now, target=str(rollout.step), **on)
        session.add_all([asked, Event(at=now, kind=event, data=data, **on)])

    def _any(self, kind: IntentKind, rollout: Rollout, *such: ColumnElement[bool]) -> bool:
        query = select(Intent.id).where(Intent.kind == kind, Intent.rollout_id == rollout.id, *such).limit(1)
        with self._reading() as session:
            return session.scalar(query) is not None


def _named(rollout: Rollout) -> str:
    return f"rollout {rollout.id} of service {rollout.service!r}"
