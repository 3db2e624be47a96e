"""Plays a scenario of ``tests/data/health`` by exposition texts and kernel lines, through the code that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bulkhead.health.exposition import Blocks
from bulkhead.health.fleet import Fleet
from bulkhead.health.kernel_log import xids
from bulkhead.health.observation import Snapshot, place
from bulkhead.health.policy import Policy
from bulkhead.health.sources.dcgm import read, series
from bulkhead.health.verdict import Assessment

FILE = Path(__file__).parents[2] / "data" / "health" / "scenarios.yaml"
INTERVAL_S = 15.0
NAMES = tuple(f"{node}{index}" for node in "ab" for index in range(4))
_LABELS = ("gpu", "pod")
_HEALTHY: Mapping[str, Any] = {
    "DCGM_FI_DEV_SM_CLOCK": 1980,
    "DCGM_FI_DEV_MEM_CLOCK": 2619,
    "DCGM_FI_DEV_GPU_TEMP": 55,
    "DCGM_FI_DEV_MEMORY_TEMP": 70,
    "DCGM_FI_DEV_POWER_USAGE": 650.0,
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 1_000_000,
    "DCGM_FI_DEV_GPU_UTIL": 99,
    "DCGM_FI_DEV_MEM_COPY_UTIL": 40,
    "DCGM_FI_DEV_FB_USED": 70000,
    "DCGM_FI_DEV_FB_FREE": 11000,
    "DCGM_FI_PROF_DRAM_ACTIVE": 0.4,
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.5,
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 0,
    "DCGM_FI_DEV_PCIE_LINK_WIDTH": 16,
    "DCGM_FI_DEV_PCIE_MAX_LINK_WIDTH": 16,
    "DCGM_FI_DEV_XID_ERRORS": 0,
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": 0,
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": 0,
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": 0,
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": 0,
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": 0,
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": 4,
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": 0,
}


def scenarios() -> list[dict[str, Any]]:
    """All of them, as written."""
    return list(yaml.safe_load(FILE.read_text(encoding="utf-8")))


class Play:
    """One scenario.

    Args:
        scenario: as written.
        policy: thresholds.
    """

    def __init__(self, scenario: Mapping[str, Any], policy: Policy | None = None) -> None:
        self._scenario = scenario
        self._metrics: dict[str, dict[str, Any]] = {
            name: {**_HEALTHY, "gpu": index % 4, "pod": "train-0"} for index, name in enumerate(NAMES)
        }
        self.fleet = Fleet(policy or Policy())
        self._blocks = Blocks(series)
        self._poll = 0

    def assessments(self) -> Iterator[Assessment]:
        """How the fleet stands after each poll."""
        for poll in self._scenario["looks"]:
            for _ in range(poll.get("times", 1)):
                yield self._take(poll)

    def end(self) -> Assessment:
        """How it stands after the last."""
        return list(self.assessments())[-1]

    def _take(self, poll: Mapping[str, Any]) -> Assessment:
        self._poll += 1
        now = 1_000_000.0 + self._poll * INTERVAL_S
        for name, changes in poll.get("set", {}).items():
            for one in NAMES if name == "all" else (name,):
                self._metrics[one].update(changes)
        frozen = poll.get("freeze", ())
        for name, metrics in self._metrics.items():
            if name[0] not in frozen:
                metrics["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] += 9_000_000
        snapshots = [self._scrape(poll, now)]
        for node, lines in poll.get("kernel", {}).items():
            log = Snapshot(f"kernel/{node}", now)
            for pci, event in xids(lines, now):
                log.xids.setdefault(place(node, pci), []).append(event)
            snapshots.append(log)
        return self.fleet.take(snapshots, now)

    def _scrape(self, poll: Mapping[str, Any], now: float) -> Snapshot:
        snapshot = Snapshot("dcgm", now)
        if poll.get("fail"):
            snapshot.failed = "it does not answer"
            return snapshot
        read("\n".join(self._lines(poll)) + "\n", snapshot, self._blocks)
        snapshot.covers = snapshot.shown_nodes
        return snapshot

    def _lines(self, poll: Mapping[str, Any]) -> Iterator[str]:
        drop, only, mig = poll.get("drop", ()), poll.get("only", {}), poll.get("mig", {})
        shown = [name for name in NAMES if name not in drop and name[0] not in drop]
        for metric in _HEALTHY:
            yield f"# TYPE {metric} gauge"
            for name in shown:
                value = self._metrics[name][metric]
                if value is None or (name in only and metric not in only[name]):
                    continue
                for instance in mig.get(name, [None]):
                    yield f"{metric}{{{self._labels(name, instance)}}} {value}"
        yield poll.get("text", "")

    def _labels(self, name: str, instance: int | None) -> str:
        index = int(name[1])
        slot = f'GPU_I_PROFILE="1g.10gb",GPU_I_ID="{instance}",' if instance is not None else ""
        return (
            f'gpu="{self._metrics[name]["gpu"]}",UUID="GPU-{name}",pci_bus_id="00000000:{index + 1:02X}:00.0",'
            f'device="nvidia{index}",modelName="NVIDIA H100 80GB HBM3",Hostname="{name[0]}",{slot}'
            f'namespace="ml",pod="{self._metrics[name]["pod"]}",container="main"'
        )
