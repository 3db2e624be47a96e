from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from bulkhead.control import Control
from bulkhead.ledger.tables import Phase
from bulkhead.operators.roll_back import RollBackOperator
from bulkhead.operators.triggers.rollout import ReleaseTrigger
from tests.rollouts import advance, promote, request

Context = Callable[..., Any]


def _operator(**more: Any) -> RollBackOperator:
    return RollBackOperator(task_id="back", service="digits", reason="smoke test failed", **more)


def _ask(context: Context, **more: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        _operator(**more).execute(context("back", xcoms={"deploy": {"rollout_id": 2}}))
    return deferred.value


def test_what_is_in_progress_is_taken_back(control: Control, context: Context) -> None:
    promote(control.ledger, "old")
    rollout = request(control.ledger, "a")
    assert _ask(context).trigger.rollout_id == rollout.id
    now = control.ledger.rollouts.get(rollout.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, "smoke test failed")
    done = advance(control.ledger, now, Phase.ROLLED_BACK)
    assert _operator().resume(context("back"), {"rollout_id": done.id})["result"] == "rolled_back"


def test_where_nothing_is_the_service_returns_to_the_revision_before(control: Control, context: Context) -> None:
    old, new = promote(control.ledger, "old"), promote(control.ledger, "new")
    rollout = control.ledger.rollouts.get(_ask(context).trigger.rollout_id)
    assert (rollout.revision_id, rollout.stable_id) == (old.revision_id, new.revision_id)
    done = advance(control.ledger, rollout, Phase.PROMOTED)
    assert _operator().resume(context("back"), {"rollout_id": done.id})["result"] == "promoted"


def test_a_return_that_does_not_succeed_is_a_failure(control: Control, context: Context) -> None:
    promote(control.ledger, "old")
    promote(control.ledger, "new")
    rollout = control.ledger.rollouts.get(_ask(context).trigger.rollout_id)
    done = advance(control.ledger, control.ledger.rollouts.abort(rollout, "its image is gone", {}), Phase.ROLLED_BACK)
    with pytest.raises(AirflowFailException, match=r"does not serve again\. Rolled back: .*: its image is gone"):
        _operator().resume(context("back"), {"rollout_id": done.id})
    with pytest.raises(AirflowFailException, match=r"does not serve again\. Rolled back: .*: its image is gone"):
        _operator().execute(context("back"))  # so says its next try


def test_one_deploy_tasks_rollout_alone(control: Control, context: Context) -> None:
    promote(control.ledger, "old")
    rollout = request(control.ledger, "a")
    assert rollout.id == 2
    assert _ask(context, deploy_task_id="deploy").trigger.rollout_id == 2
    assert control.ledger.rollouts.get(2).phase is Phase.RESTORING


def test_one_that_is_promoted_already_stays(control: Control, context: Context) -> None:
    promote(control.ledger, "old")
    promote(control.ledger, "new")
    found = _operator(deploy_task_id="deploy").execute(context("back", xcoms={"deploy": {"rollout_id": 2}}))
    assert found["result"] == "promoted"
    assert control.ledger.rollouts.active() == []


def test_a_deploy_task_that_left_nothing_leaves_nothing_to_take_back(control: Control, context: Context) -> None:
    with pytest.raises(AirflowSkipException, match="it has left no rollout"):
        _operator(deploy_task_id="deploy").execute(context("back"))


def test_marking_or_clearing_the_task_does_not_make_the_bad_revision_serve(control: Control, context: Context) -> None:
    promote(control.ledger, "old")
    promote(control.ledger, "new")
    assert not isinstance(_ask(context).trigger, ReleaseTrigger)


def test_nothing_to_go_back_to_is_said(control: Control, context: Context) -> None:
    promote(control.ledger, "only")
    with pytest.raises(AirflowFailException, match="has no earlier revision"):
        _operator().execute(context("back"))
