from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.operators.retry import ContainmentRetryPolicy, default_policy, default_to_one_retry
from bulkhead.pods.exceptions import error
from bulkhead.pods.outcome import Failure, FailureClass

Context = Callable[..., Any]


def _evaluate(context: Any, named: FailureClass, kind: str = "", node: str = "gpu-7", **failure: Any) -> Any:
    policy = ContainmentRetryPolicy()
    caught = error("train-1", Failure(failure_class=named, kind=kind, message="because", **failure), node)
    return policy.evaluate(caught, 1, 3, context)


def test_a_preempted_pod_is_tried_again_without_the_users_retries(control: Control, context: Context) -> None:
    task = context("train", retries=3)
    decision = _evaluate(task, FailureClass.PREEMPTED)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=1))
    assert decision.reason == "preempted: retry here, 1 of 3 infrastructure retries"


def test_the_programs_own_failure_uses_the_users_retries(control: Control, context: Context) -> None:
    assert _evaluate(context("train", retries=3), FailureClass.APPLICATION).action is RetryAction.FAIL
    assert _evaluate(context("other", retries=4, max_tries=4), FailureClass.APPLICATION).action is RetryAction.RETRY


def test_what_failed_before_counts_over_tries(control: Control, context: Context) -> None:
    task = context("train", retries=3)
    actions = [_evaluate(task, FailureClass.EVICTED, "memory", checkpoint=f"step-{n}").action for n in range(4)]
    assert actions == [RetryAction.RETRY] * 3 + [RetryAction.FAIL]


def test_a_cleared_task_starts_again(control: Control, context: Context) -> None:
    for number in range(4):
        _evaluate(context("train", retries=3), FailureClass.EVICTED, "drain", checkpoint=f"step-{number}")
    assert (
        _evaluate(context("train", retries=3, max_tries=4), FailureClass.EVICTED, "drain").action is RetryAction.RETRY
    )


def test_a_device_fault_makes_its_node_suspected_once(control: Control, context: Context) -> None:
    task = context("train", retries=3)
    for _ in range(2):
        _evaluate(task, FailureClass.DEVICE_FAULT, "xid-79")
    (said,) = control.ledger.suspicions.since(datetime.now(UTC) - timedelta(minutes=1))
    assert (said.node, said.owner, said.cause) == ("gpu-7", "release", "device_fault/xid-79")
    assert said.reason.startswith("device_fault/xid-79: because (airflow:release/run/train/-1: ")


def test_what_failed_nobody_knows_where_makes_nobody_suspected(control: Control, context: Context) -> None:
    _evaluate(context("train", retries=3), FailureClass.DEVICE_FAULT, "xid-79", node="")
    assert control.ledger.suspicions.since(datetime.now(UTC) - timedelta(minutes=1)) == []


def test_the_next_try_stays_away_from_the_node(control: Control, context: Context) -> None:
    task = context("train", retries=3)
    _evaluate(task, FailureClass.DEVICE_FAULT, "ecc")
    assert ContainmentRetryPolicy().changes(task).exclude_nodes == ("gpu-7",)


def test_what_is_no_pods_failure_is_left_to_airflow(context: Context) -> None:
    policy = ContainmentRetryPolicy()
    assert policy.evaluate(KeyError("x"), 1, 3, context("train")).action is RetryAction.DEFAULT


@pytest.mark.parametrize(
    "arguments",
    [
        {"infrastructure_retries": -1},
        {"same_cause": 0},
        {"memory_factor": 0.5},
        {"memory_ceiling": float("nan")},
        {"memory_factor": float("inf")},
    ],
)
def test_a_number_out_of_range_is_refused_by_name(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=rf"retry_policy\.{next(iter(arguments))}"):
        ContainmentRetryPolicy(**arguments)


@pytest.mark.parametrize(
    ("message", "filled"),
    [
        ({}, {"retries": 1, "retry_delay": timedelta(seconds=5)}),
        ({"retry_delay": timedelta(minutes=1)}, {"retries": 1, "retry_delay": timedelta(minutes=1)}),
        ({"retries": 0}, {"retries": 0}),
        ({"default_args": {"retries": 2}}, {"default_args": {"retries": 2}}),
    ],
)
def test_one_more_try_is_only_for_those_who_say_nothing_about_it(
    message: dict[str, Any], filled: dict[str, Any]
) -> None:
    default_to_one_retry(message)
    assert message == filled


@pytest.mark.parametrize(
    ("message", "delay"),
    [
        ({}, timedelta(seconds=5)),
        ({"retry_delay": timedelta(minutes=1)}, timedelta(minutes=1)),
        ({"default_args": {"retry_delay": timedelta(minutes=2)}}, timedelta(minutes=2)),
        ({"retry_policy": None}, None),
    ],
)
def test_a_try_that_airflow_lost_is_made_again_soon(message: dict[str, Any], delay: timedelta | None) -> None:
    default_policy(message)
    assert message.get("retry_delay") == delay


def test_one_more_try_yields_to_airflows_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DEFAULT_TASK_RETRIES", "4")
    kwargs: dict[str, Any] = {}
    default_to_one_retry(kwargs)
    assert kwargs == {}
