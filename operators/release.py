"""The whole deploy side of a DAG in one call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import TaskGroup

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.operators.deploy import DeployOperator
from bulkhead.operators.promote import PromoteOperator
from bulkhead.operators.roll_back import RollBackOperator

_WRITTEN_OUT = "the tasks of the group follow from it, so it cannot be a template"


def release(
    service: str,
    model_name: str,
    *,
    plan: Mapping[str, Any] | None = None,
    group_id: str = "release",
    approval_timeout: timedelta = timedelta(hours=24),
    approvers: list[Any] | None = None,
    bulkhead_conn_id: str | None = None,
    **deploy: Any,
) -> TaskGroup:
    """A task group that releases a model, asks persons where the plan says so, and takes back what they reject.

    ::

        with DAG("churn", schedule="@daily") as dag:
            evaluate = EvaluateOperator(task_id="evaluate", model_name="churn", candidate="models:/churn/7", …)
            evaluate >> release("churn", "churn", plan={"steps": [10, {"weight": 50, "approve": True}, 100]})

    Tasks: ``deploy``; for each step of the plan with ``approve: true`` one ``approve_N`` (an ``ApprovalOperator``: the
    question is in Airflow's web UI under "Required actions"), ``promote_N``, and ``roll_back_N``, which runs where the
    person rejects or does not answer.

    Args:
        plan: fields of ``bulkhead.rollout.plan.Plan``. Its ``approve`` must be written out: the tasks follow from it.
        group_id: of the group; prefix of its tasks.
        approval_timeout: how long a person may take; keep it below the plan's ``approval_s``.
        approvers: users who may answer, as ``ApprovalOperator.assigned_users``; by default all who may edit the DAG.
        bulkhead_conn_id: connection of type ``bulkhead``.
        deploy: further arguments of ``DeployOperator``.

    Returns:
        The group.

    Raises:
        InvalidInputError: an argument is wrong, or whether a step asks for approval is not written out.
    """
    arguments.duration("approval_timeout", approval_timeout)
    if approvers is not None and not isinstance(approvers, list):
        raise InvalidInputError("approvers", approvers, "give a list of users, as ApprovalOperator.assigned_users")
    connection: dict[str, Any] = {} if bulkhead_conn_id is None else {"bulkhead_conn_id": bulkhead_conn_id}
    asked = _asked(plan)
    with TaskGroup(group_id) as group:
        deploy_task = DeployOperator(
            task_id="deploy",
            service=service,
            model_name=model_name,
            plan=plan,
            stop_at_approval=bool(asked),
            **connection,
            **deploy,
        )
        before: Any = deploy_task
        for place, number in enumerate(asked, start=1):
            approve = ApprovalOperator(
                task_id=f"approve_{number}",
                subject=f"Step {number} of the release of {model_name} to {service} is well so far: go on?",
                body=f"`bulkhead status {service}` shows its numbers.",
                fail_on_reject=True,
                response_timeout=approval_timeout,
                assigned_users=approvers,
                retries=0,  # a person's no is final: with the DAG's ``retries`` they would be asked again
            )
            promote = PromoteOperator(
                task_id=f"promote_{number}",
                deploy_task_id=deploy_task.task_id,
                step=number,
                stop_at_approval=place < len(asked),
                **connection,
            )
            roll_back = RollBackOperator(
                task_id=f"roll_back_{number}",
                service=service,
                reason=f"step {number} was not approved",
                deploy_task_id=deploy_task.task_id,
                trigger_rule="all_failed",
                **connection,
            )
            before >> approve >> [promote, roll_back]
            before = promote
    return group


def _asked(plan: Any) -> list[int]:
    """Numbers, from 1, of the steps that ask for approval."""
    if plan is not None and not isinstance(plan, Mapping):
        raise InvalidInputError("plan", plan, f"give a mapping with its steps written out: {_WRITTEN_OUT}")
    steps = (plan or {}).get("steps", ())
    if not isinstance(steps, list | tuple):
        raise InvalidInputError("plan.steps", steps, f"give a list of steps: {_WRITTEN_OUT}")
    asked = []
    for index, step in enumerate(steps):
        approve = step.get("approve", False) if isinstance(step, Mapping) else False
        if not isinstance(approve, bool):
            raise InvalidInputError(f"plan.steps.{index}.approve", approve, f"give True or False: {_WRITTEN_OUT}")
        if approve:
            asked.append(index + 1)
    return asked
