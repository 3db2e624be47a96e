from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout, TaskDeferred

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.health.requirement import DeviceRequirement
from bulkhead.operators.ends import LoggedInOneLine
from bulkhead.operators.gpu_pod import GpuPodOperator
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.triggers.fleet import DeviceHealthTrigger
from bulkhead.operators.triggers.local_pod import LocalPodTrigger

Context = Callable[..., Any]
EIGHT = DeviceRequirement(8, model="*H100*")


@pytest.mark.parametrize(
    "operator",
    [
        PodOperator(task_id="t", command=["true"], require_devices=EIGHT),
        PodOperator(task_id="t", command=["true"], nodes=2, require_devices=EIGHT),
        GpuPodOperator(task_id="t", image="x", require_devices=EIGHT, devices_timeout=timedelta(minutes=5)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_launch_waits_for_healthy_devices_before_there_is_a_pod(operator: Any, context: Context) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context("t"))
    assert isinstance(deferred.value.trigger, DeviceHealthTrigger)
    assert deferred.value.trigger.requirement["count"] == 8
    assert deferred.value.method_name == "launch"
    assert deferred.value.timeout == operator.devices_timeout


def test_when_they_are_there_it_launches(control: Control, context: Context) -> None:
    operator = PodOperator(task_id="t", command=["sleep", "60"], gpus=0, require_devices=EIGHT)
    with pytest.raises(TaskDeferred) as deferred:
        operator.launch(context("t"), {"devices": {"n1": []}, "text": "there"})
    assert isinstance(deferred.value.trigger, LocalPodTrigger)
    assert [one.name for one in control.runtime.list({})] == [deferred.value.trigger.name]


@pytest.mark.parametrize(
    ("healthy", "message"),
    [
        (None, "Gave up: its pod did not end long after its deadline. Is a triggerer running?"),
        (
            DeviceRequirement(8, None, "*H100*", False),
            "Gave up: there were not 8 healthy devices of *H100* within 0:20:00 "
            "(`bulkhead fleet` shows what there is), or its pod did not end long after its deadline.",
        ),
    ],
)
def test_what_did_not_come_in_time_ends_in_a_sentence_and_may_be_tried_again(
    healthy: DeviceRequirement | None, message: str, context: Context
) -> None:
    limit = timedelta(minutes=20)
    operator = GpuPodOperator(task_id="train", image="x", require_devices=healthy, devices_timeout=limit)
    with pytest.raises(TaskDeferralTimeout) as ended:
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context("train"))
    assert isinstance(ended.value, LoggedInOneLine)
    assert str(ended.value).startswith(message)


def test_a_trigger_that_failed_keeps_its_traceback(context: Context) -> None:
    with pytest.raises(TaskDeferralError) as ended:
        GpuPodOperator(task_id="train", image="x").resume_execution("__fail__", {"error": "a bug"}, context("train"))
    assert not isinstance(ended.value, LoggedInOneLine)


def test_bad_input_is_refused_when_the_dag_is_read() -> None:
    with pytest.raises(InvalidInputError, match="devices_timeout"):
        PodOperator(task_id="t", command=["true"], require_devices=EIGHT, devices_timeout=timedelta(0))
