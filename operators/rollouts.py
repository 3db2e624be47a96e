"""What all operators of the deploy side share: the control plane, waiting for a rollout, telling what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from bulkhead.control import Control
from bulkhead.ledger.tables import Rollout
from operators.hooks import BulkheadHook
from operators.retry import once_more
from operators.triggers.rollout import ReleaseTrigger, RolloutTrigger, asks_again

if TYPE_CHECKING:
    from airflow.sdk import Context


class RolloutOperator(BaseOperator):
    """Base of operators that wait for a rollout.

    Args:
        bulkhead_conn_id: connection of type ``bulkhead``.
        kwargs: of ``BaseOperator``; ``retries`` is 1 by default (see ``operators.retry.once_more``).
    """

    trigger: ClassVar[type[RolloutTrigger]] = ReleaseTrigger
    """What the task waits with: by default one that takes the rollout back where a person marks or clears the task."""

    def __init__(self, *, bulkhead_conn_id: str = BulkheadHook.default_conn_name, **kwargs: Any) -> None:
        once_more(kwargs)
        super().__init__(**kwargs)
        self.bulkhead_conn_id = bulkhead_conn_id

    def control(self) -> Control:
        """The control plane of the connection."""
        return BulkheadHook(self.bulkhead_conn_id).control()

    def outcome(self, context: Context, rollout: Rollout, approval_after: int | None = None) -> dict[str, Any]:
        """What became of a rollout; defers until that is known.

        Args:
            context: of the task.
            rollout: in the ledger.
            approval_after: known as well once it waits for a person at a step after this one; None: only at its end.

        Returns:
            See ``resume``.

        Raises:
            AirflowFailException: see ``resume``.
        """
        if not (rollout.phase.ended or asks_again(rollout, approval_after)):
            self.wait_for(rollout, approval_after)
        return self.resume(context, {"rollout_id": rollout.id})

    def wait_for(self, rollout: Rollout, approval_after: int | None = None, method_name: str = "resume") -> NoReturn:
        """Defer until a rollout has ended.

        Args:
            rollout: in the ledger.
            approval_after: see ``outcome``.
            method_name: what Airflow calls then.
        """
        self.log.info("rollout %s of revision %s is %s", rollout.id, rollout.revision_id, rollout.phase)
        trigger = self.trigger(rollout.id, self.bulkhead_conn_id, approval_after)
        self.defer(trigger=trigger, method_name=method_name)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Say what became of the release.

        Args:
            context: of the task.
            event: of the trigger: the rollout's id.

        Returns:
            ``rollout_id``, ``revision``, ``result`` (``promoted``, or ``approving`` where it waits for a person),
            ``reason``.

        Raises:
            AirflowFailException: it was rolled back; the reason names the numbers.
        """
        rollout = self._told(event)
        if rollout.phase.returning:
            raise AirflowFailException(f"revision {rollout.revision_id} was rolled back: {rollout.reason}")
        return result(rollout)

    def rollout_of(self, context: Context, deploy_task_id: str) -> int:
        """The rollout that a deploy task of this run has asked for.

        Args:
            context: of the task.
            deploy_task_id: of the deploy task, with its task group's prefix.

        Raises:
            AirflowFailException: that task has left none.
        """
        found = context["ti"].xcom_pull(task_ids=deploy_task_id) or {}
        if "rollout_id" not in found:
            raise AirflowFailException(
                f"deploy_task_id = {deploy_task_id!r}: it has left no rollout; name a DeployOperator upstream, "
                f"with its task group's prefix, whose XCom is kept"
            )
        return int(found["rollout_id"])

    def _told(self, event: Mapping[str, Any]) -> Rollout:
        ledger = self.control().ledger
        rollout = ledger.rollout(event["rollout_id"])
        for entry in ledger.events(rollout.id):
            self.log.info("%s %s %s", entry.at.isoformat(timespec="milliseconds"), entry.kind, entry.data)
        return rollout


def result(rollout: Rollout) -> dict[str, Any]:
    """What a task of the deploy side returns.

    Args:
        rollout: as it is now.
    """
    return {
        "rollout_id": rollout.id,
        "revision": rollout.revision_id,
        "result": str(rollout.phase),
        "reason": rollout.reason,
    }
