"""NVIDIA's dcgm-exporter: its metrics by the fields that are known here.

Sources: dcgm-exporter's ``default-counters.csv`` and its labels; DCGM's ``dcgm_structs.h`` for the values that stand
for "blank"; ``shared/facts/gpu-health.md`` for where the exporter misleads.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bulkhead.errors import UnavailableError
from bulkhead.health.exposition import Blocks, Malformed, samples
from bulkhead.health.observation import Device, Field, Reading, Snapshot, pci_of
from bulkhead.metrics.http_json import get_body

LAST_XID = "DCGM_FI_DEV_XID_ERRORS"
XID_COUNTS = ("DCGM_EXP_XID_ERRORS_COUNT", "DCGM_EXP_XID_ERRORS_TOTAL")
"""Of the exporter itself: how often each Xid came within its window, and since it started."""

METRICS: Mapping[str, Field] = {
    "DCGM_FI_DEV_SM_CLOCK": Field.SM_CLOCK,
    "DCGM_FI_DEV_MEM_CLOCK": Field.MEMORY_CLOCK,
    "DCGM_FI_DEV_GPU_TEMP": Field.TEMPERATURE,
    "DCGM_FI_DEV_MEMORY_TEMP": Field.MEMORY_TEMPERATURE,
    "DCGM_FI_DEV_POWER_USAGE": Field.POWER,
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": Field.ENERGY,
    "DCGM_FI_DEV_GPU_UTIL": Field.UTILISATION,
    "DCGM_FI_DEV_MEM_COPY_UTIL": Field.COPY_UTILISATION,
    "DCGM_FI_DEV_FB_USED": Field.MEMORY_USED,
    "DCGM_FI_DEV_FB_FREE": Field.MEMORY_FREE,
    "DCGM_FI_PROF_SM_ACTIVE": Field.SM_ACTIVE,
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": Field.TENSOR_ACTIVE,
    "DCGM_FI_PROF_DRAM_ACTIVE": Field.DRAM_ACTIVE,
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": Field.PCIE_REPLAYS,
    "DCGM_FI_DEV_PCIE_LINK_WIDTH": Field.PCIE_WIDTH,
    "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH": Field.PCIE_WIDTH_MAX,
    LAST_XID: Field.LAST_XID,
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": Field.ECC_CORRECTED,
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": Field.ECC_UNCORRECTED,
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": Field.ROWS_CORRECTED,
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": Field.ROWS_UNCORRECTED,
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": Field.ROW_REMAP_FAILURE,
    "DCGM_FI_DEV_ROW_REMAP_PENDING": Field.ROW_REMAP_PENDING,
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": Field.THROTTLE_REASONS,
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": Field.THROTTLE_REASONS,
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": Field.NVLINK_BANDWIDTH,
}

LINK_ERRORS = frozenset(
    f"DCGM_FI_DEV_NVLINK_{kind}_ERROR_COUNT_TOTAL" for kind in ("CRC_FLIT", "CRC_DATA", "REPLAY", "RECOVERY")
)
"""Metrics that are added up to ``Field.NVLINK_ERRORS``."""

_FIELDS = {f"{name}{end}": field for name, field in METRICS.items() for end in ("", "_total")}
_LINKS = frozenset(f"{name}{end}" for name in LINK_ERRORS for end in ("", "_total"))
_KNOWN = frozenset(_FIELDS) | _LINKS | frozenset(XID_COUNTS)
_BLANK = 140737488355328.0
"""``DCGM_FP64_BLANK``; its integer twin is greater."""
_BLANK_INT32 = range(2147483632, 2147483648)
_EXPORTER = "dcgm-exporter"
"""In the name of the exporter's own pod, which is no job."""
_JOBS = (("exported_namespace", "exported_pod"), ("pod_namespace", "pod_name"), ("namespace", "pod"))
"""Labels of who has a device. Prometheus renames the exporter's own where it has the same ones from discovery, which
mean the exporter's pod; with ``--use-old-namespace`` the exporter has others, and those from discovery stay."""
_MOST_BLOCKS = 500_000
_MOST_BYTES = 256 * 1024 * 1024


@dataclass(eq=False, slots=True)
class Series:
    """What a block of labels means.

    Attributes:
        device: whose numbers follow.
        job: who had it, or empty.
        instance: MIG instance id, or empty for the whole GPU.
        xid: that is counted, or None.
    """

    device: Device
    job: str
    instance: str
    xid: int | None


def series(labels: Mapping[str, str]) -> Series | None:
    """What labels mean; None where they name no device."""
    uuid = labels.get("UUID") or labels.get("uuid") or ""
    if not uuid:
        return None
    xid = labels.get("xid")
    namespace, pod = next(
        ((labels.get(space, ""), labels[name]) for space, name in _JOBS if labels.get(name)), ("", "")
    )
    if _EXPORTER in pod:
        pod = ""
    return Series(
        Device(
            uuid=uuid,
            node=labels.get("Hostname") or labels.get("instance", ""),
            model=labels.get("modelName", ""),
            pci=pci_of(labels.get("pci_bus_id", "")),
        ),
        job=f"{namespace}/{pod}" if pod else labels.get("hpc_job", ""),
        instance=labels.get("GPU_I_ID", ""),
        xid=int(xid) if xid and xid.isdigit() and len(xid) < 6 else None,
    )


def read(text: str, snapshot: Snapshot, blocks: Blocks[Series]) -> None:
    """Take a scrape into a snapshot.

    Args:
        text: what the exporter answered.
        snapshot: gets the readings, and what was not understood.
        blocks: made of ``series``; shared between scrapes.
    """
    take(samples(text, blocks, _KNOWN.__contains__), snapshot)
    if len(blocks) > _MOST_BLOCKS:
        blocks.clear()  # pods come and go, and each is a label


def take(series: Iterable[tuple[str, Series, float] | Malformed], snapshot: Snapshot) -> None:
    """Take samples into a snapshot.

    Args:
        series: of dcgm-exporter, however they came.
        snapshot: gets the readings, and what was not understood.
    """
    collected: dict[Series, dict[str, float]] = {}
    own: dict[str, float] | None
    for sample in series:
        if len(sample) == 2:
            snapshot.count(sample.why)
            continue
        name, whose, value = sample
        own = collected.get(whose)
        if own is None:
            own = collected[whose] = {}
        if name in own:
            # Which of the two is right is not known: the field is unknown.
            snapshot.count("a series twice")
            value = math.nan
        own[name] = value
    for whose, values in collected.items():
        _fold(snapshot, whose, values)


def _fold(snapshot: Snapshot, whose: Series, values: Mapping[str, float]) -> None:
    reading = snapshot.readings.get(whose.device.uuid)
    if reading is None:
        reading = snapshot.readings[whose.device.uuid] = Reading(whose.device, snapshot.at, {}, whose.job)
    elif reading.device.node != whose.device.node:
        snapshot.count("a device on two nodes")
        return
    if whose.xid is not None:
        counted = [values[name] for name in XID_COUNTS if name in values and 0 <= values[name] < _BLANK]
        if counted:
            # The exporter repeats the device's count for each pod and each MIG instance that shares it.
            counts = reading.xid_counts = reading.xid_counts or {}
            counts[whose.xid] = max(counts.get(whose.xid, 0.0), *counted)
        return
    fields = _understood(snapshot, values)
    if whose.instance:
        reading.instances = reading.instances or {}
        reading.instances[whose.instance] = fields
        # An instance's line tells the whole GPU's state (temperature, Xid) too; what is worst of them holds.
        fields = {field: max(value, reading.fields.get(field, value)) for field, value in fields.items()}
    reading.job = reading.job or whose.job
    reading.fields.update(fields)


def _understood(snapshot: Snapshot, values: Mapping[str, float]) -> dict[Field, float]:
    fields: dict[Field, float] = {}
    links = None
    for name, value in values.items():
        if not 0 <= value < _BLANK or value in _BLANK_INT32:
            snapshot.count("no usable number")
            continue
        field = _FIELDS.get(name)
        if field is not None:
            fields[field] = value
        elif name in _LINKS:
            links = (links or 0.0) + value
    if links is not None:
        fields[Field.NVLINK_ERRORS] = links
    return fields


class DcgmSource:
    """One exporter, of a node or of many behind one address.

    Args:
        token: sent as a bearer token, or None.
        timeout_s: for connecting, and for each read, in seconds.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 5.0) -> None:
        self.name = url
        self._token, self._timeout_s = token, timeout_s
        self._blocks = Blocks(series)

    def poll(self, at: float) -> Snapshot:
        """See ``Source.poll``. It speaks for the nodes of which it shows a device.

        Args:
            at: the time, in seconds since 1970.
        """
        snapshot = Snapshot(self.name, at)
        try:
            body = get_body(self.name, self._timeout_s, self._token, _MOST_BYTES, {"Accept-Encoding": "gzip"})
            read(_text(body), snapshot, self._blocks)
        except (UnavailableError, zlib.error) as error:
            snapshot.failed = str(error)
            return snapshot
        if not snapshot.readings:
            snapshot.failed = f"{self.name} tells of no device"
            return snapshot
        snapshot.covers = snapshot.shown_nodes
        return snapshot


def _text(body: bytes) -> str:
    if body[:2] == b"\x1f\x8b":
        unzip = zlib.decompressobj(wbits=31)
        body = unzip.decompress(body, _MOST_BYTES)
        if unzip.unconsumed_tail:
            raise UnavailableError(f"the exporter's answer is larger than {_MOST_BYTES} bytes")
    return body.decode(errors="replace")
