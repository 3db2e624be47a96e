"""Approvals: a person agrees that a rollout goes on from the step at which it waits."""

from __future__ import annotations

from sqlalchemy import select

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.events import EventKind
from bulkhead.ledger.isolations import Isolations
from bulkhead.ledger.tables import Event, Intent, Phase, Rollout


class Approvals(Isolations):
    """The approving part of the ledger; it takes what ``Isolations`` takes."""

    def approve(
        self, rollout_id: int, *, key: str, requested_by: str, reason: str = "", step: int | None = None
    ) -> Rollout:
        """Agree that a rollout goes on from its step. The reconciler sees it at its next look.

        Args:
            rollout_id: its id.
            key: idempotency key of the wish.
            requested_by: who agreed, for the record.
            reason: for people.
            step: index of the step that was approved; None: the one at which it waits.

        Returns:
            The rollout as it is now.

        Raises:
            NotFoundError: there is none.
            ConflictError: it does not wait for anybody, or at another step.
        """
        with self._writing() as session:
            rollout = session.scalar(select(Rollout).where(Rollout.id == rollout_id).with_for_update())
            if rollout is None:
                raise NotFoundError(f"no rollout {rollout_id} in the ledger")
            if session.scalar(select(Intent).where(Intent.key == key)) is not None:
                return rollout
            if rollout.phase is not Phase.APPROVING:
                raise ConflictError(
                    f"rollout {rollout_id} of service {rollout.service!r} is {rollout.phase}: it waits for nobody; "
                    f"a step of its plan needs 'approve: true' for that"
                )
            if step not in (None, rollout.step):
                raise ConflictError(
                    f"rollout {rollout_id} of service {rollout.service!r} waits at step {rollout.step + 1}: what was "
                    f"approved is step {step + 1}"
                )
            now, target = self._clock(), str(rollout.step)
            intent = Intent(key=key, kind="approve", service=rollout.service, rollout_id=rollout_id, target=target)
            intent.reason, intent.requested_by, intent.created_at = reason, requested_by, now
            data = {"step": rollout.step, "by": requested_by, "reason": reason}
            event = Event(at=now, service=rollout.service, rollout_id=rollout_id, kind=EventKind.APPROVED, data=data)
            session.add_all([intent, event])
            return rollout

    def approved(self, rollout: Rollout) -> bool:
        """Whether somebody has agreed that a rollout goes on from its step.

        Args:
            rollout: as it was read.
        """
        here = (Intent.rollout_id == rollout.id) & (Intent.target == str(rollout.step))
        with self._reading() as session:
            return session.scalar(select(Intent.id).where(Intent.kind == "approve", here).limit(1)) is not None
