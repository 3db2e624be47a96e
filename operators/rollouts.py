"""What all operators of the deploy side share: the control plane, waiting for a rollout, telling what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator

from bulkhead import arguments
from bulkhead.control import Control
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Rollout
from bulkhead.operators.ends import PlainEnds, PlainFailure
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.retry import default_to_one_retry
from bulkhead.operators.rollout_log import log_events
from bulkhead.operators.triggers.rollout import ReleaseTrigger, RolloutTrigger, asks_again
from bulkhead.rollout.sentences import end

if TYPE_CHECKING:
    from airflow.sdk import Context


class RolloutOperator(PlainEnds, BaseOperator):
    """Base of operators that wait for a rollout.

    Args:
        bulkhead_conn_id: connection of type ``bulkhead``.
        kwargs: of ``BaseOperator``; ``retries`` is 1 by default (see
            ``bulkhead.operators.retry.default_to_one_retry``).
    """

    trigger: ClassVar[type[RolloutTrigger]] = ReleaseTrigger
    """What the task waits with: by default one that takes the rollout back where a person marks or clears the task."""

    def __init__(self, *, bulkhead_conn_id: str = BulkheadHook.default_conn_name, **kwargs: Any) -> None:
        default_to_one_retry(kwargs)
        super().__init__(**kwargs)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        self.bulkhead_conn_id = bulkhead_conn_id

    def control(self) -> Control:
        """The control plane of the connection."""
        return BulkheadHook(self.bulkhead_conn_id).control()

    def outcome(
        self,
        context: Context,
        ledger: Ledger,
        rollout: Rollout,
        approval_after: int | None = None,
        after_event: int = 0,
    ) -> dict[str, Any]:
        """What became of a rollout; defers until that is known, and logs what happens meanwhile.

        Args:
            ledger: that knows the rollout.
            rollout: as it was read.
            approval_after: known as well once it waits for a person at a step after this one; None: only at its end.
            after_event: id of the last event that does not belong into this task's log; 0 for none.

        Returns:
            See ``resume``.

        Raises:
            AirflowFailException: see ``resume``.
        """
        if not (rollout.phase.ended or asks_again(rollout, approval_after)):
            self.wait_for(ledger, rollout, approval_after, after_event)
        return self.resume(context, {"rollout_id": rollout.id, "after_event": after_event})

    def wait_for(
        self,
        ledger: Ledger,
        rollout: Rollout,
        approval_after: int | None = None,
        after_event: int = 0,
        method_name: str = "resume",
    ) -> NoReturn:
        """Defer until a rollout has ended.

        Args:
            ledger: see ``outcome``.
            rollout: as it was read.
            approval_after: see ``outcome``.
            after_event: see ``outcome``.
            method_name: what Airflow calls then.
        """
        after_event = log_events(self.log.info, ledger, rollout.id, after_event)
        trigger = self.trigger(rollout.id, self.bulkhead_conn_id, approval_after, after_event)
        self.defer(trigger=trigger, method_name=method_name)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Say what became of the release.

        Args:
            event: of the trigger: the rollout's id, and that of its last event in the log.

        Returns:
            ``rollout_id``, ``revision``, ``result`` (``promoted``, or ``approving`` where it waits for a person),
            ``reason``.

        Raises:
            AirflowFailException: it was rolled back; the reason names the numbers, and the text says what serves now
                and what can be done next.
        """
        rollout = self._logged(event)
        if rollout.phase.returning:
            raise PlainFailure(end(rollout))
        if rollout.phase.ended:
            self.log.info("%s", end(rollout))
        return result(rollout)

    def rollout_of(self, context: Context, deploy_task_id: str) -> int:
        """The rollout that a deploy task of this run has asked for.

        Args:
            deploy_task_id: of the deploy task, with its task group's prefix.

        Raises:
            AirflowFailException: that task has left none.
        """
        deployed = context["ti"].xcom_pull(task_ids=deploy_task_id) or {}
        if "rollout_id" not in deployed:
            raise PlainFailure(
                f"deploy_task_id = {deploy_task_id!r}: it has left no rollout; name a DeployOperator upstream, "
                f"with its task group's prefix, whose XCom is kept"
            )
        return int(deployed["rollout_id"])

    def _logged(self, event: Mapping[str, Any]) -> Rollout:
        """The rollout, once what its trigger has not logged is in the log."""
        ledger = self.control().ledger
        log_events(self.log.info, ledger, event["rollout_id"], event.get("after_event", 0))
        return ledger.rollouts.get(event["rollout_id"])


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
