from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bulkhead.control import Control
from bulkhead.health.observation import Device
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health, Reason
from bulkhead.operators.triggers.fleet import DeviceFaultTrigger, DeviceHealthTrigger, FleetView
from bulkhead.settings import CONFIG_VARIABLE, Exporter, FleetSettings
from bulkhead.xids import RecommendedAction
from tests.servers import Backend
from tests.waiting import PATIENCE_S

LINE = (
    'DCGM_FI_DEV_GPU_TEMP{{UUID="GPU-{0}",Hostname="n1",modelName="H100"}} 50\n'
    'DCGM_FI_DEV_XID_ERRORS{{UUID="GPU-{0}",Hostname="n1",modelName="H100"}} 0\n'
)


def view(kept: tuple[str, ...] = (), **message: str) -> FleetView:
    devices = {
        name: DeviceVerdict(
            Device(name, "n1", "H100"), Health(health), Reason.XID, "Xid 79", RecommendedAction.RESET, 1.0, 0.0, 0.0
        )
        for name, health in message.items()
    }
    return FleetView(Assessment(0.0, devices), frozenset(kept))


def events(trigger: Any, *views: FleetView) -> list[Any]:
    async def stream() -> AsyncIterator[FleetView]:
        for one in views:
            yield one

    async def all_of_them() -> list[Any]:
        return [one.payload async for one in trigger.filter_shared_stream(stream())]

    return asyncio.run(all_of_them())


def health(**more: Any) -> DeviceHealthTrigger:
    return DeviceHealthTrigger({"count": 2, "nodes": None, "model": "H*", "free": False, **more}, "bulkhead_default")


def test_fires_once_when_enough_are_healthy() -> None:
    found = events(
        health(), view(a="healthy", b="unhealthy"), view(a="healthy", b="healthy"), view(a="healthy", b="healthy")
    )
    assert [one["devices"] for one in found] == [{"n1": ["a", "b"]}]


def test_unknown_and_quarantined_devices_do_not_count() -> None:
    assert events(health(), view(a="healthy", b="unknown"), view(("b",), a="healthy", b="healthy")) == []


def test_a_fault_is_told_once_for_as_long_as_it_lasts() -> None:
    unhealthy, well = view(a="unhealthy"), view(a="healthy")
    found = events(DeviceFaultTrigger(), unhealthy, unhealthy, well, unhealthy)
    assert [one["device"] for one in found] == ["a", "a"]
    assert found[0] == {
        "device": "a",
        "node": "n1",
        "model": "H100",
        "reason": "xid",
        "text": "Xid 79",
        "action": "reset",
        "job": "",
    }


def test_what_was_unhealthy_before_and_other_models_are_left_out() -> None:
    assert events(DeviceFaultTrigger(only_new=True), view(a="unhealthy"), view(a="unhealthy")) == []
    assert [
        event["device"]
        for event in events(DeviceFaultTrigger(only_new=True), view(a="unhealthy"), view(a="unhealthy", b="unhealthy"))
    ] == ["b"]
    assert events(DeviceFaultTrigger(model="A100*"), view(a="unhealthy")) == []


def test_all_triggers_of_a_connection_share_one_look() -> None:
    assert (
        health().shared_stream_key() == health(count=8).shared_stream_key() == DeviceFaultTrigger().shared_stream_key()
    )
    assert health().shared_stream_key() != DeviceFaultTrigger(bulkhead_conn_id="other").shared_stream_key()


@pytest.mark.parametrize("trigger", [health(), DeviceFaultTrigger("H*", True, "x")])
def test_triggers_are_made_again_from_what_they_serialize(trigger: Any) -> None:
    path, arguments = trigger.serialize()
    assert path.endswith(type(trigger).__qualname__)
    assert type(trigger)(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)


def test_looks_at_the_fleet_of_the_configuration(
    control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = Backend(LINE.format(1))
    fleet = FleetSettings(exporters=(Exporter(url=f"http://127.0.0.1:{exporter.port}/metrics"),), poll_s=0.05)
    config = tmp_path / "fleet.json"
    config.write_text(control.settings.model_copy(update={"fleet": fleet}).model_dump_json())
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    waiting = health()

    async def first() -> Any:
        return (await anext(aiter(waiting.run()))).payload

    async def appear() -> Any:
        task = asyncio.ensure_future(first())
        while len(exporter.asked) < 2:
            await asyncio.sleep(0.01)
        assert not task.done()
        exporter.name = LINE.format(1) + LINE.format(2)
        return await asyncio.wait_for(task, PATIENCE_S)

    assert asyncio.run(appear())["devices"] == {"n1": ["GPU-1", "GPU-2"]}
    exporter.stop()
