"""Isolating a revision, as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bulkhead import arguments
from bulkhead.errors import InvalidInputError, NotFoundError
from bulkhead.ledger.requests import Request
from bulkhead.operators.ends import refused
from bulkhead.operators.identity import identity
from bulkhead.operators.rollouts import RolloutOperator
from bulkhead.operators.templates import check_known
from bulkhead.operators.triggers.rollout import NoTrafficTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class IsolateOperator(RolloutOperator):
    """Takes a revision's traffic away, keeps it and its model from any, and waits until it has none.

    Args:
        reason: for people; the next who asks for the revision is shown it; templated.
        revision: its id; templated.
        deploy_task_id: the revision that this deploy task released, where ``revision`` does not name it.
        kwargs: of ``RolloutOperator``.

    Raises:
        InvalidInputError: an argument is wrong, or neither names the revision, or both do.
    """

    template_fields: Sequence[str] = ("revision", "reason")

    def __init__(
        self, *, reason: str, revision: str | None = None, deploy_task_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_known(arguments.text, "reason", reason)
        for name, value in (("revision", revision), ("deploy_task_id", deploy_task_id)):
            if value is not None:
                check_known(arguments.text, name, value)
        if (revision is None) == (deploy_task_id is None):
            raise InvalidInputError("revision", revision, "give one of 'revision' and 'deploy_task_id'")
        self.reason, self.revision, self.deploy_task_id = reason, revision, deploy_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Write the intent and defer.

        Returns:
            See ``resume``: where its traffic is gone already, there is nothing to defer for.

        Raises:
            AirflowFailException: there is no such revision.
        """
        task, control = identity(context), self.control()
        try:
            revision = self.revision or self._released(context)
            by = f"{task.owner}/{task.task_id}"
            control.commands.isolate(revision, Request(f"task/{task.key}", self.reason, by))
        except NotFoundError as error:
            raise refused(error) from error
        if revision in control.ledger.revisions.serving():
            self.log.info("Revision %s is isolated; its traffic goes away.", revision)
            self.defer(trigger=NoTrafficTrigger(revision, self.bulkhead_conn_id), method_name="resume")
        return self.resume(context, {"revision": revision})

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Its traffic is gone.

        Args:
            event: of the trigger: the revision's id.

        Returns:
            ``revision``, ``result``.
        """
        revision = event["revision"]
        self.log.info(
            "Isolated: revision %s has no traffic, and none is given to it or its model until 'bulkhead unisolate %s'.",
            revision,
            revision,
        )
        return {"revision": revision, "result": "isolated"}

    def _released(self, context: Context) -> str:
        assert self.deploy_task_id is not None
        return self.control().ledger.rollouts.get(self.rollout_of(context, self.deploy_task_id)).revision_id
