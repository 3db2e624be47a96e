from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.operators.ends import LoggedInOneLine
from bulkhead.plugins.device_sensors import DeviceFaultSensor, DeviceHealthSensor
from bulkhead.settings import CONFIG_VARIABLE, Exporter, FleetSettings
from tests.servers import Backend

Context = Callable[..., Any]


def test_it_waits_without_a_worker_for_as_long_as_it_may(context: Context) -> None:
    sensor = DeviceHealthSensor(task_id="gpus", count=8, nodes=2, model="*H100*", timeout=600)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context("gpus"))
    assert deferred.value.trigger.requirement == {"count": 8, "nodes": 2, "model": "*H100*", "free": False}
    assert deferred.value.timeout == timedelta(minutes=10)
    assert sensor.resume(context("gpus"), {"devices": {"n1": ["GPU-1"]}, "text": "there"}) == {"n1": ["GPU-1"]}


def test_a_soft_failure_skips(context: Context) -> None:
    sensor = DeviceHealthSensor(task_id="gpus", soft_fail=True)
    with pytest.raises(AirflowSkipException):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, context("gpus"))


def test_whose_time_is_over_ends_in_a_sentence_and_is_not_tried_again(context: Context) -> None:
    gpus = DeviceHealthSensor(task_id="gpus", count=8, nodes=2, model="*H100*", timeout=600)
    with pytest.raises(AirflowSensorTimeout) as ended:
        gpus.resume_execution("__fail__", {"error": "Trigger timeout"}, context("gpus"))
    assert isinstance(ended.value, LoggedInOneLine)
    assert str(ended.value) == (
        "Gave up after 0:10:00: there were not 2 nodes with 8 healthy devices of *H100* each. "
        "`bulkhead fleet` shows what there is."
    )
    fault = DeviceFaultSensor(task_id="fault", model="*H100*", timeout=600)
    with pytest.raises(
        AirflowSensorTimeout, match=r"^Gave up after 0:10:00: no device of \*H100\* turned unhealthy\.$"
    ):
        fault.resume_execution("__fail__", {"error": "Trigger timeout"}, context("fault"))


def test_a_fault_is_returned(context: Context) -> None:
    sensor = DeviceFaultSensor(task_id="fault", model="*H100*")
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context("fault"))
    assert deferred.value.trigger.model == "*H100*"
    event = {"device": "GPU-1", "node": "n1", "text": "Xid 79"}
    assert sensor.resume(context("fault"), event) == event


def test_bad_input_is_refused_when_the_dag_is_read() -> None:
    with pytest.raises(InvalidInputError, match="count = 0: give a whole number of at least 1"):
        DeviceHealthSensor(task_id="gpus", count=0)


@pytest.mark.parametrize(("only_new", "retries"), [(False, 1), (True, 0)])
def test_a_retry_never_leaves_out_the_fault_that_was_seen(only_new: bool, retries: int) -> None:
    assert DeviceFaultSensor(task_id="fault", only_new=only_new).retries == retries


LINE = (
    'DCGM_FI_DEV_GPU_TEMP{{UUID="GPU-{0}",Hostname="n1",modelName="H100"}} 50\n'
    'DCGM_FI_DEV_XID_ERRORS{{UUID="GPU-{0}",Hostname="n1",modelName="H100"}} {1}\n'
)


@pytest.fixture
def exporter(control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The fleet of the configuration: a healthy GPU, and another."""
    made = Backend(LINE.format(1, 0) + LINE.format(2, 0))
    fleet = FleetSettings(exporters=(Exporter(url=f"http://127.0.0.1:{made.port}/metrics"),))
    config = tmp_path / "fleet.json"
    config.write_text(control.settings.model_copy(update={"fleet": fleet}).model_dump_json())
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    yield made
    made.stop()


@pytest.mark.usefixtures("exporter")
def test_another_try_does_not_defer_for_what_is_there(context: Context) -> None:
    enough, more = (DeviceHealthSensor(task_id="gpus", count=count, model="H*") for count in (2, 3))
    with pytest.raises(TaskDeferred):
        enough.execute(context("gpus"))
    assert enough.execute(context("gpus", 2)) == {"n1": ["GPU-1", "GPU-2"]}
    with pytest.raises(TaskDeferred):
        more.execute(context("gpus", 2))


def test_another_try_returns_the_fault_that_is_there(context: Context, exporter: Backend) -> None:
    sensor = DeviceFaultSensor(task_id="fault", model="H*")
    with pytest.raises(TaskDeferred):
        sensor.execute(context("fault", 2))
    failed = 'DCGM_FI_DEV_ROW_REMAP_FAILURE{UUID="GPU-2",Hostname="n1",modelName="H100"} 1\n'
    exporter.name = LINE.format(1, 0) + LINE.format(2, 0) + failed
    fault = sensor.execute(context("fault", 2))
    assert (fault["device"], fault["node"]) == ("GPU-2", "n1")


def test_a_fleet_that_does_not_answer_is_waited_for_in_the_triggerer(context: Context, exporter: Backend) -> None:
    exporter.stop()
    with pytest.raises(TaskDeferred):
        DeviceHealthSensor(task_id="gpus", model="H*").execute(context("gpus", 2))
