"""NVML's functions are played; that the real library has each of them is checked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from bulkhead.health.observation import Field
from bulkhead.health.sources.nvml import NvmlSource

FIELDS = {
    "nvmlDeviceGetName": b"NVIDIA H100",
    "nvmlDeviceGetPciInfo": SimpleNamespace(busId=b"00000000:3B:00.0"),
    "nvmlDeviceGetClockInfo": 1980,
    "nvmlDeviceGetTemperature": 51,
    "nvmlDeviceGetPowerUsage": 650_000,
    "nvmlDeviceGetTotalEnergyConsumption": 10**9,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=99, memory=40),
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=2**30, free=2**31),
    "nvmlDeviceGetPcieReplayCounter": 3,
    "nvmlDeviceGetCurrPcieLinkWidth": 16,
    "nvmlDeviceGetMaxPcieLinkWidth": 16,
    "nvmlDeviceGetTotalEccErrors": 0,
    "nvmlDeviceGetCurrentClocksEventReasons": 4,
    "nvmlDeviceGetRemappedRows": (1, 2, 0, 0),
    "nvmlDeviceGetFieldValues": [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=2))],
}


class Library:
    """Two GPUs. A function named in ``broken`` fails with its code."""

    def __init__(self) -> None:
        self.broken: dict[str, int] = {}
        self.lost: set[int] = set()
        self.events: list[SimpleNamespace] = []
        self.listening = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)  # what the real library lacks cannot be played
        if not name.startswith("nvml") or name == "nvmlEventTypeXidCriticalError":
            return real

        def play(*arguments: Any) -> Any:
            if name in self.broken:
                raise pynvml.NVMLError(self.broken[name])
            return self._play(name, arguments)

        return play

    def _play(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "nvmlDeviceGetCount":
            return 2
        if name == "nvmlDeviceGetHandleByIndex":
            if arguments[0] in self.lost:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
            return arguments[0]
        if name == "nvmlDeviceGetUUID":
            return f"GPU-{arguments[0]}"
        if name == "nvmlDeviceRegisterEvents":
            self.listening += 1
        if name == "nvmlEventSetCreate":
            return "the set"
        if name == "nvmlEventSetWait_v2":
            if not self.events:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
            return self.events.pop()
        return FIELDS.get(name)


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def source(library: Library) -> NvmlSource:
    return NvmlSource(library, "here")


def test_reads_every_field_of_every_gpu(source: NvmlSource) -> None:
    snapshot = source.look(5.0)
    assert (snapshot.failed, snapshot.problems, snapshot.covers) == (None, {}, {"here"})
    reading = snapshot.readings["GPU-1"]
    assert (reading.device.model, reading.device.pci, reading.at) == ("NVIDIA H100", "0000:3b:00", 5.0)
    assert reading.fields[Field.POWER] == 650.0
    assert reading.fields[Field.MEMORY_FREE] == 2048.0
    assert reading.fields[Field.ROWS_UNCORRECTED] == 2.0
    assert reading.fields[Field.RECOVERY_ACTION] == 2.0


def test_xids_are_told_as_they_happen(source: NvmlSource, library: Library) -> None:
    assert source.look(0.0).xids == {}
    assert library.listening == 2
    library.events.append(SimpleNamespace(device=1, eventData=48))
    assert [one.xid for one in source.look(1.0).xids["GPU-1"]] == [48]
    assert source.look(2.0).xids == {}


def test_a_gpu_that_is_lost_has_fallen_off(source: NvmlSource, library: Library) -> None:
    source.look(0.0)
    library.lost.add(1)
    snapshot = source.look(1.0)
    assert [one.xid for one in snapshot.xids["GPU-1"]] == [79]
    assert "GPU-1" not in snapshot.readings


def test_what_a_gpu_does_not_support_is_unknown_of_it(source: NvmlSource, library: Library) -> None:
    library.broken = {
        "nvmlDeviceGetTotalEccErrors": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetRemappedRows": pynvml.NVML_ERROR_NOT_SUPPORTED,
    }
    snapshot = source.look(0.0)
    assert Field.ECC_UNCORRECTED not in snapshot.readings["GPU-0"].fields
    assert snapshot.problems == {}


def test_any_other_trouble_is_told(source: NvmlSource, library: Library) -> None:
    library.broken = {"nvmlDeviceGetTemperature": pynvml.NVML_ERROR_UNKNOWN}
    assert source.look(0.0).problems == {"temperature_c: Unknown Error": 2}


def test_a_machine_without_a_driver_has_failed() -> None:
    snapshot = NvmlSource().look(0.0)
    assert snapshot.readings or "NVML" in (snapshot.failed or "")
    assert snapshot.failed is None or snapshot.covers == frozenset()
