from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, TaskDeferred

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.operators.ends import LoggedInOneLine
from bulkhead.plugins.sensors import ServingSLOSensor
from tests.rollouts import promote, request

Context = Callable[..., Any]


def _guard(context: Any, **more: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        ServingSLOSensor(task_id="guard", service="digits", **more).execute(context)
    return deferred.value


def test_it_guards_the_stable_revision_without_a_worker(control: Control, context: Context) -> None:
    rollout = promote(control.ledger, "a")
    deferred = _guard(context("guard"), guard=timedelta(hours=2))
    assert (deferred.trigger.revision, deferred.trigger.length_s) == (rollout.revision_id, 7200)
    assert deferred.timeout > timedelta(hours=2)


def test_it_guards_what_a_deploy_task_released(control: Control, context: Context) -> None:
    deferred = _guard(context("guard", xcoms={"deploy": {"revision": "digits-1"}}), deploy_task_id="deploy")
    assert deferred.trigger.revision == "digits-1"


def test_nothing_to_guard_is_said(control: Control, context: Context) -> None:
    with pytest.raises(AirflowFailException, match="unknown service 'digits'"):
        ServingSLOSensor(task_id="guard", service="digits").execute(context("guard"))
    request(control.ledger, "a")
    with pytest.raises(AirflowFailException, match="service 'digits' has no revision to guard"):
        ServingSLOSensor(task_id="guard", service="digits").execute(context("guard"))
    with pytest.raises(AirflowFailException, match="deploy_task_id = 'deploy': it has left no revision"):
        ServingSLOSensor(task_id="guard", service="digits", deploy_task_id="deploy").execute(context("guard"))


def test_a_guard_that_nobody_ran_ends_in_a_sentence(context: Context) -> None:
    sensor = ServingSLOSensor(task_id="guard", service="digits", guard=timedelta(minutes=5))
    with pytest.raises(AirflowSensorTimeout) as ended:
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, context("guard"))
    assert isinstance(ended.value, LoggedInOneLine)
    assert str(ended.value).startswith(
        "The guard of service digits was not over within 0:15:00. Is a triggerer running?"
    )


def test_a_broken_objective_fails_the_task_with_the_numbers(context: Context) -> None:
    sensor = ServingSLOSensor(task_id="guard", service="digits")
    with pytest.raises(AirflowFailException, match="burns"):
        sensor.resume(context("guard"), {"result": "breached", "reason": "it burns"})
    assert sensor.resume(context("guard"), {"result": "kept", "reason": "well"})["result"] == "kept"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"objective": 1.0}, "objective = 1.0: give a share"),
        ({"guard": timedelta(0)}, "guard = "),
        ({"min_failures": 0}, "min_failures = 0"),
        ({"on_breach": "hope"}, "on_breach = 'hope': give one of roll-back, isolate, fail"),
    ],
)
def test_bad_input_is_refused_when_the_dag_is_read(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        ServingSLOSensor(task_id="guard", service="digits", **arguments)
