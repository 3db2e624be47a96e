"""NVML's functions are played; that the real library has each of them is checked."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from bulkhead.health.observation import Field
from bulkhead.health.sources.nvml import NvmlSource
from tests.fixtures.nvml import Library


@pytest.fixture
def library() -> Library:
    return Library()


@pytest.fixture
def source(library: Library) -> NvmlSource:
    return NvmlSource(library, "here")


def test_reads_every_field_of_every_gpu(source: NvmlSource) -> None:
    snapshot = source.poll(5.0)
    assert (snapshot.failed, snapshot.problems, snapshot.covers) == (None, {}, {"here"})
    reading = snapshot.readings["GPU-1"]
    assert (reading.device.model, reading.device.pci, reading.at) == ("NVIDIA H100", "0000:3b:00", 5.0)
    assert reading.fields[Field.POWER] == 650.0
    assert reading.fields[Field.MEMORY_FREE] == 2048.0
    assert reading.fields[Field.ROWS_UNCORRECTED] == 2.0
    assert reading.fields[Field.RECOVERY_ACTION] == 2.0


def test_xids_are_told_as_they_happen(source: NvmlSource, library: Library) -> None:
    assert source.poll(0.0).xids == {}
    assert library.listening == 2
    library.events.append(SimpleNamespace(device=1, eventData=48))
    assert [one.xid for one in source.poll(1.0).xids["GPU-1"]] == [48]
    assert source.poll(2.0).xids == {}


def test_a_gpu_that_is_lost_has_fallen_off(source: NvmlSource, library: Library) -> None:
    source.poll(0.0)
    library.lost.add(1)
    snapshot = source.poll(1.0)
    assert [one.xid for one in snapshot.xids["GPU-1"]] == [79]
    assert "GPU-1" not in snapshot.readings


def test_what_a_gpu_does_not_support_is_unknown_of_it(source: NvmlSource, library: Library) -> None:
    library.broken = {
        "nvmlDeviceGetTotalEccErrors": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetRemappedRows": pynvml.NVML_ERROR_NOT_SUPPORTED,
    }
    snapshot = source.poll(0.0)
    assert Field.ECC_UNCORRECTED not in snapshot.readings["GPU-0"].fields
    assert snapshot.problems == {}


def test_any_other_trouble_is_told(source: NvmlSource, library: Library) -> None:
    library.broken = {"nvmlDeviceGetTemperature": pynvml.NVML_ERROR_UNKNOWN}
    assert source.poll(0.0).problems == {"temperature_c: Unknown Error": 2}


def test_a_machine_without_a_driver_has_failed() -> None:
    snapshot = NvmlSource().poll(0.0)
    assert snapshot.readings or "NVML" in (snapshot.failed or "")
    assert snapshot.failed is None or snapshot.covers == frozenset()
