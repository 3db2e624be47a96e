from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.operators.isolate import IsolateOperator
from tests.rollouts import promote

Context = Callable[..., Any]


def _operator(**more: Any) -> IsolateOperator:
    return IsolateOperator(task_id="isolate", reason="leaks data", **more)


@pytest.mark.parametrize("named", [{"deploy_task_id": "deploy"}, {}])
def test_the_revision_is_isolated_and_waited_for(control: Control, context: Context, named: dict[str, str]) -> None:
    rollout = promote(control.ledger, "a")
    arguments = named or {"revision": rollout.revision_id}
    xcoms = {"deploy": {"rollout_id": rollout.id}}
    with pytest.raises(TaskDeferred) as deferred:
        _operator(**arguments).execute(context("isolate", xcoms=xcoms))
    (isolated,) = control.ledger.isolations.in_force()
    assert (isolated.revision_id, isolated.reason) == (rollout.revision_id, "leaks data")
    assert deferred.value.trigger.revision == rollout.revision_id
    event = {"revision": rollout.revision_id}
    assert _operator(**arguments).resume(context("isolate"), event) == {**event, "result": "isolated"}


def test_an_unknown_revision_is_named(control: Control, context: Context) -> None:
    with pytest.raises(AirflowFailException, match="no revision 'digits-0' in the ledger"):
        _operator(revision="digits-0").execute(context("isolate"))


@pytest.mark.parametrize("named", [{}, {"revision": "a", "deploy_task_id": "b"}])
def test_it_needs_one_name_of_the_revision(named: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match="give one of 'revision' and 'deploy_task_id'"):
        _operator(**named)
