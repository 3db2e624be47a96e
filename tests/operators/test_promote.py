from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.control import Control
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import Plan
from operators.promote import PromoteOperator
from tests.rollouts import advance, revision

Context = Callable[..., Any]
ASKS = Plan(steps=({"weight": 10, "approve": True}, {"weight": 50, "approve": True}, 100))  # type: ignore[arg-type]


@pytest.fixture
def waiting(control: Control) -> Rollout:
    plan = ASKS.model_dump(mode="json")
    rollout = control.ledger.request_rollout(revision("a").columns(), plan, key="k", owner="o", requested_by="a test")
    return advance(control.ledger, rollout, Phase.APPROVING)


def _promote(context: Context, rollout: Rollout, **more: Any) -> TaskDeferred:
    operator = PromoteOperator(task_id="promote", deploy_task_id="release.deploy", **more)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context("promote", xcoms={"release.deploy": {"rollout_id": rollout.id}}))
    return deferred.value


def test_it_records_the_approval_and_waits_for_the_end(control: Control, context: Context, waiting: Rollout) -> None:
    deferred = _promote(context, waiting)
    assert control.ledger.approved(waiting)
    assert (deferred.trigger.rollout_id, deferred.trigger.approval_after) == (waiting.id, None)
    assert control.ledger.events(waiting.id, "approved")[0].data["by"] == "airflow:release/run/promote"


def test_it_stops_where_the_rollout_waits_again(control: Control, context: Context, waiting: Rollout) -> None:
    assert _promote(context, waiting, stop_at_approval=True).trigger.approval_after == 0


def test_a_retry_approves_once(control: Control, context: Context, waiting: Rollout) -> None:
    _promote(context, waiting)
    _promote(context, waiting)
    assert len(control.ledger.intents("approve")) == 1


def test_what_was_taken_back_meanwhile_fails_with_its_reason(
    control: Control, context: Context, waiting: Rollout
) -> None:
    advance(control.ledger, control.ledger.turn_round(waiting, "5 of 12 failed", {}), Phase.ROLLED_BACK)
    deferred = _promote(context, waiting)
    operator = PromoteOperator(task_id="promote", deploy_task_id="release.deploy")
    with pytest.raises(AirflowFailException, match="was rolled back: 5 of 12 failed"):
        getattr(operator, deferred.method_name)(context("promote"), {"rollout_id": waiting.id})


def test_a_deploy_task_that_left_nothing_is_named(control: Control, context: Context) -> None:
    with pytest.raises(AirflowFailException, match="deploy_task_id = 'deploy': it has left no rollout"):
        PromoteOperator(task_id="promote", deploy_task_id="deploy").execute(context("promote"))
