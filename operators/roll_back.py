"""Taking a release back, as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from bulkhead import arguments
from bulkhead.control import Control
from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.operators.ends import PlainFailure, refused
from bulkhead.operators.identity import identity
from bulkhead.operators.rollouts import RolloutOperator, result
from bulkhead.operators.templates import check_known
from bulkhead.operators.triggers.rollout import RolloutTrigger
from bulkhead.rollout.sentences import end

if TYPE_CHECKING:
    from airflow.sdk import Context


class RollBackOperator(RolloutOperator):
    """Takes back what a service has in progress; where nothing is, returns to the revision before the stable one.

    Args:
        service: by name; templated.
        reason: for people; templated.
        deploy_task_id: take back this deploy task's rollout alone, and nothing where that has ended.
        kwargs: of ``RolloutOperator``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    trigger = RolloutTrigger  # a person who marks or clears this task does not mean that the bad revision is to serve

    template_fields: Sequence[str] = ("service", "reason")

    def __init__(
        self,
        *,
        service: str,
        reason: str = "a task of the DAG asked for it",
        deploy_task_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_known(arguments.service, "service", service)
        check_known(arguments.text, "reason", reason)
        if deploy_task_id is not None:
            arguments.text("deploy_task_id", deploy_task_id)
        self.service, self.reason, self.deploy_task_id = service, reason, deploy_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the intent and defer.

        Returns:
            See ``resume``: where the rollout has ended, there is nothing to defer for.

        Raises:
            AirflowFailException: there is nothing to go back to. Or see ``resume``.
            AirflowSkipException: the deploy task has left nothing to take back.
        """
        control = self.control()
        try:
            rollout = self._ask(control, context)
        except (NotFoundError, ConflictError) as error:
            raise refused(error) from error
        return self.outcome(context, control.ledger, rollout)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Say what became of it.

        Args:
            event: of the trigger: the rollout's id.

        Returns:
            ``rollout_id``, ``revision``, ``result``, ``reason``.

        Raises:
            AirflowFailException: the revision that was to serve again did not.
        """
        rollout = self._logged(event)
        returned = rollout.owner == _by(context)  # a rollout of its own, to the revision before the stable one
        if returned and rollout.phase is not Phase.PROMOTED:
            raise PlainFailure(f"Revision {rollout.revision_id} does not serve again. {end(rollout)}")
        self.log.info("%s", end(rollout))
        return result(rollout)

    def _ask(self, control: Control, context: Context) -> Rollout:
        task = identity(context)
        request = Request(f"task/{task.key}", self.reason, _by(context))
        if self.deploy_task_id is None:
            return control.commands.roll_back(self.service, request)
        try:
            rollout_id = self.rollout_of(context, self.deploy_task_id)
        except AirflowFailException as error:  # it was refused, or rolled back itself: there is nothing to take back
            raise AirflowSkipException(str(error)) from error
        control.commands.abort(rollout_id, request)
        return control.ledger.rollouts.get(rollout_id)


def _by(context: Context) -> str:
    task = identity(context)
    return f"{task.owner}/{task.task_id}"
