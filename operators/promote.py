"""The approved stage: a person has agreed, and the rollout goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bulkhead import arguments
from bulkhead.errors import ConflictError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Intent, Rollout
from bulkhead.operators.identity import identity
from bulkhead.operators.rollouts import RolloutOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class PromoteOperator(RolloutOperator):
    """Lets a rollout that waits for a person go on, and waits for its end.

    Airflow's ``ApprovalOperator`` asks the person; this runs downstream of it.

    Args:
        deploy_task_id: of the deploy task, with its task group's prefix.
        step: number of the plan's step, from 1, that the person has approved; by default the one at which the rollout
            waits when the task first runs.
        stop_at_approval: whether the task ends, well, where the rollout waits for a person again.
        kwargs: of ``RolloutOperator``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    def __init__(
        self, *, deploy_task_id: str, step: int | None = None, stop_at_approval: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        arguments.text("deploy_task_id", deploy_task_id)
        if step is not None:
            arguments.whole("step", step, 1)
        arguments.switch("stop_at_approval", stop_at_approval)
        self.deploy_task_id, self.step, self.stop_at_approval = deploy_task_id, step, stop_at_approval

    def execute(self, context: Context) -> dict[str, Any]:
        """Record the approval and defer.

        Returns:
            See ``resume``: where it is known already, there is nothing to defer for.

        Raises:
            AirflowFailException: the deploy task has left no rollout. Or see ``resume``.
        """
        task, control = identity(context), self.control()
        rollout = control.ledger.rollouts.get(self.rollout_of(context, self.deploy_task_id))
        key, by = f"approve/{task.key}", f"{task.owner}/{task.task_id}"
        step = self._approved(control.ledger.intents.find(key), rollout)
        before = control.ledger.events.latest_ids([rollout.id]).get(rollout.id, 0)  # the deploy task has logged these
        try:
            control.commands.approve(rollout.id, Request(key, "approved in Airflow", by), step=step)
        except ConflictError as error:  # another has approved, or rolled it back: the wait tells which
            self.log.info("%s", error)
        return self.outcome(context, control.ledger, rollout, step if self.stop_at_approval else None, before)

    def _approved(self, before: Intent | None, rollout: Rollout) -> int:
        """Index of the step that the person was asked about. A later one that waits as well needs a yes of its own."""
        if self.step is not None:
            return self.step - 1
        if before is None:
            return rollout.step
        assert before.target is not None  # an approval names its step
        return int(before.target)
