"""The approved stage: a person has agreed, and the rollout goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkhead.errors import ConflictError
from operators.identity import identity
from operators.rollouts import RolloutOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class PromoteOperator(RolloutOperator):
    """Lets a rollout that waits for a person go on, and waits for its end.

    Airflow's ``ApprovalOperator`` asks the person; this runs downstream of it.

    Args:
        deploy_task_id: of the deploy task, with its task group's prefix.
        stop_at_approval: whether the task ends, well, where the rollout waits for a person again.
        kwargs: of ``RolloutOperator``.
    """

    def __init__(self, *, deploy_task_id: str, stop_at_approval: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deploy_task_id, self.stop_at_approval = deploy_task_id, stop_at_approval

    def execute(self, context: Context) -> None:
        """Record the approval and defer.

        Args:
            context: of the task.

        Raises:
            AirflowFailException: the deploy task has left no rollout.
        """
        task, control = identity(context), self.control()
        rollout = control.ledger.rollout(self.rollout_of(context, self.deploy_task_id))
        step = rollout.step
        try:
            by = f"{task.owner}/{task.task_id}"
            control.approve(rollout.id, key=f"approve/{task.key}/{step}", requested_by=by, reason="approved in Airflow")
        except ConflictError as error:  # somebody else has approved, or taken it back: the wait tells which
            self.log.info("%s", error)
        self.wait_for(rollout, approval_after=step if self.stop_at_approval else None)
