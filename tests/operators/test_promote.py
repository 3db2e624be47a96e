from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.operators.promote import PromoteOperator
from bulkhead.rollout.phases import following
from bulkhead.rollout.plan import Plan
from tests.rollouts import advance, revision

Context = Callable[..., Any]
ASKS = Plan(steps=({"weight": 10, "approve": True}, {"weight": 50, "approve": True}, 100))  # type: ignore[arg-type]


@pytest.fixture
def waiting(control: Control) -> Rollout:
    plan = ASKS.model_dump(mode="json")
    rollout = control.ledger.rollouts.request(revision("a").columns(), plan, Request("k", "", "a test"), owner="o")
    return advance(control.ledger, rollout, Phase.APPROVING)


def _at_next_step(control: Control, rollout: Rollout) -> Rollout:
    phase, step = following(rollout.phase, rollout.step, ASKS)
    moved = control.ledger.rollouts.transition(rollout, phase, str(phase), {}, step=step)
    return advance(control.ledger, moved, Phase.APPROVING)


def _promote(context: Context, rollout: Rollout, **more: Any) -> TaskDeferred:
    operator = PromoteOperator(task_id="promote", deploy_task_id="release.deploy", **more)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context("promote", xcoms={"release.deploy": {"rollout_id": rollout.id}}))
    return deferred.value


def test_it_records_the_approval_and_waits_for_the_end(control: Control, context: Context, waiting: Rollout) -> None:
    deferred = _promote(context, waiting)
    assert control.ledger.approvals.approved(waiting)
    assert (deferred.trigger.rollout_id, deferred.trigger.approval_after) == (waiting.id, None)
    assert control.ledger.events.select(waiting.id, "approved")[0].data["by"] == "airflow:release/run/promote"


def test_it_stops_where_the_rollout_waits_again(control: Control, context: Context, waiting: Rollout) -> None:
    assert _promote(context, waiting, stop_at_approval=True).trigger.approval_after == 0


def test_a_retry_approves_once(control: Control, context: Context, waiting: Rollout) -> None:
    _promote(context, waiting)
    _promote(context, waiting)
    assert len(control.ledger.intents.of_kind("approve")) == 1


@pytest.mark.parametrize("step", [None, 1])
def test_a_retry_does_not_approve_the_next_step_which_nobody_was_asked_about(
    control: Control, context: Context, waiting: Rollout, step: int | None
) -> None:
    _promote(context, waiting, step=step)
    at_next = _at_next_step(control, waiting)
    assert _promote(context, at_next, step=step).trigger.rollout_id == waiting.id
    assert not control.ledger.approvals.approved(at_next)
    stops = PromoteOperator(task_id="promote", deploy_task_id="release.deploy", step=step, stop_at_approval=True)
    found = stops.execute(context("promote", xcoms={"release.deploy": {"rollout_id": waiting.id}}))
    assert found["result"] == "approving"


def test_a_step_that_somebody_else_approved_leaves_the_next_one_alone(
    control: Control, context: Context, waiting: Rollout
) -> None:
    at_next = _at_next_step(control, waiting)
    _promote(context, at_next, step=1)
    assert not control.ledger.approvals.approved(at_next)
    _promote(context, at_next, step=2)
    assert control.ledger.approvals.approved(at_next)


def test_there_is_no_step_before_the_first() -> None:
    with pytest.raises(InvalidInputError, match=r"step = 0: give a whole number of at least 1"):
        PromoteOperator(task_id="promote", deploy_task_id="deploy", step=0)


def test_what_was_taken_back_meanwhile_fails_with_its_reason(
    control: Control, context: Context, waiting: Rollout
) -> None:
    deferred = _promote(context, waiting)
    advance(control.ledger, control.ledger.rollouts.abort(waiting, "5 of 12 failed", {}), Phase.ROLLED_BACK)
    operator = PromoteOperator(task_id="promote", deploy_task_id="release.deploy")
    with pytest.raises(AirflowFailException, match=r"Rolled back: .*: 5 of 12 failed"):
        getattr(operator, deferred.method_name)(context("promote"), {"rollout_id": waiting.id})
    with pytest.raises(AirflowFailException, match=r"Rolled back: .*: 5 of 12 failed"):
        operator.execute(context("promote", xcoms={"release.deploy": {"rollout_id": waiting.id}}))


def test_a_deploy_task_that_left_nothing_is_named(control: Control, context: Context) -> None:
    with pytest.raises(AirflowFailException, match="deploy_task_id = 'deploy': it has left no rollout"):
        PromoteOperator(task_id="promote", deploy_task_id="deploy").execute(context("promote"))
