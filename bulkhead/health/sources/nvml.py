"""The GPUs of this machine, by NVIDIA's management library.

Source: NVML API reference; ``NVML_FI_DEV_GET_GPU_RECOVERY_ACTION`` states outright what is to be done with a GPU.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

from bulkhead.health.observation import Device, Field, Reading, Snapshot, XidEvent, pci_of

_LOST_XID = 79


class NvmlSource:
    """This machine's GPUs, with their Xids as they happen.

    Args:
        nvml: module with NVML's functions; by default ``pynvml``.
        node: host name; by default this machine's.
    """

    name = "nvml"

    def __init__(self, nvml: Any = None, node: str | None = None) -> None:
        self._nvml = nvml if nvml is not None else import_module("pynvml")
        self._node = node or socket.gethostname()
        self._events: Any = None
        self._known: dict[int, Device] = {}

    def poll(self, at: float) -> Snapshot:
        """See ``Source.poll``.

        Args:
            at: the time, in seconds since 1970.
        """
        snapshot, nvml = Snapshot(self.name, at, covers=frozenset({self._node})), self._nvml
        try:
            nvml.nvmlInit()
            count = int(nvml.nvmlDeviceGetCount())
        except nvml.NVMLError as error:
            snapshot.failed, snapshot.covers = f"NVML: {error}", frozenset()
            return snapshot
        for index in range(count):
            self._device(index, snapshot)
        self._xids(snapshot)
        return snapshot

    def close(self) -> None:
        """Let the library go."""
        nvml = self._nvml
        if self._events is not None:
            nvml.nvmlEventSetFree(self._events)
            self._events = None
        with suppress(nvml.NVMLError):  # it was never there
            nvml.nvmlShutdown()

    def _device(self, index: int, snapshot: Snapshot) -> None:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            device = self._known[index] = Device(
                uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
                node=self._node,
                model=_text(nvml.nvmlDeviceGetName(handle)),
                pci=pci_of(_text(nvml.nvmlDeviceGetPciInfo(handle).busId)),
            )
        except nvml.NVMLError as error:
            last_seen = self._known.get(index)
            if last_seen is not None and error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED):
                lost = XidEvent(snapshot.at, _LOST_XID, text=f"NVML: {error}")
                snapshot.xids.setdefault(last_seen.uuid, []).append(lost)
            snapshot.count(f"device {index}: {error}")
            return
        fields = {field: value for field, value in self._fields(handle, snapshot) if value >= 0}
        snapshot.readings[device.uuid] = Reading(device, snapshot.at, fields)

    def _fields(self, handle: Any, snapshot: Snapshot) -> Iterator[tuple[Field, float]]:
        nvml = self._nvml
        for field, read in _readers(nvml).items():
            try:
                yield field, float(read(handle))
            except nvml.NVMLError as error:
                if error.value != nvml.NVML_ERROR_NOT_SUPPORTED:  # what a GPU does not support is unknown of it
                    snapshot.count(f"{field}: {error}")
        try:
            corrected, uncorrected, pending, failed = nvml.nvmlDeviceGetRemappedRows(handle)
        except nvml.NVMLError:  # older GPUs retire pages instead
            return
        yield Field.ROWS_CORRECTED, float(corrected)
        yield Field.ROWS_UNCORRECTED, float(uncorrected)
        yield Field.ROW_REMAP_PENDING, float(pending)
        yield Field.ROW_REMAP_FAILURE, float(failed)

    def _xids(self, snapshot: Snapshot) -> None:
        """Critical Xids since the poll before; the first poll only begins to listen."""
        nvml = self._nvml
        try:
            if self._events is None:
                self._events = nvml.nvmlEventSetCreate()
                for index in self._known:
                    handle = nvml.nvmlDeviceGetHandleByIndex(index)
                    nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)
                return
            while True:
                data = nvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = _text(nvml.nvmlDeviceGetUUID(data.device))
                snapshot.xids.setdefault(uuid, []).append(XidEvent(snapshot.at, int(data.eventData)))
        except nvml.NVMLError as error:
            if error.value not in (nvml.NVML_ERROR_TIMEOUT, nvml.NVML_ERROR_NOT_SUPPORTED):
                snapshot.count(f"Xid events: {error}")


def _readers(nvml: Any) -> dict[Field, Callable[[Any], float]]:
    def recovery(handle: Any) -> float:
        (value,) = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
        if value.nvmlReturn:
            raise nvml.NVMLError(value.nvmlReturn)
        return float(value.value.uiVal)

    def errors(kind: Any) -> Callable[[Any], float]:
        return lambda handle: nvml.nvmlDeviceGetTotalEccErrors(handle, kind, nvml.NVML_VOLATILE_ECC)

    return {
        Field.SM_CLOCK: lambda handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        Field.MEMORY_CLOCK: lambda handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        Field.TEMPERATURE: lambda handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        Field.POWER: lambda handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        Field.ENERGY: nvml.nvmlDeviceGetTotalEnergyConsumption,
        Field.UTILISATION: lambda handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        Field.COPY_UTILISATION: lambda handle: nvml.nvmlDeviceGetUtilizationRates(handle).memory,
        Field.MEMORY_USED: lambda handle: nvml.nvmlDeviceGetMemoryInfo(handle).used / 2**20,
        Field.MEMORY_FREE: lambda handle: nvml.nvmlDeviceGetMemoryInfo(handle).free / 2**20,
        Field.PCIE_REPLAYS: nvml.nvmlDeviceGetPcieReplayCounter,
        Field.PCIE_WIDTH: nvml.nvmlDeviceGetCurrPcieLinkWidth,
        Field.PCIE_WIDTH_MAX: nvml.nvmlDeviceGetMaxPcieLinkWidth,
        Field.ECC_CORRECTED: errors(nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED),
        Field.ECC_UNCORRECTED: errors(nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED),
        Field.THROTTLE_REASONS: nvml.nvmlDeviceGetCurrentClocksEventReasons,
        Field.RECOVERY_ACTION: recovery,
    }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
