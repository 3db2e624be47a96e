"""Judging a fleet in one scrape, against prometheus_client's parser alone.

    make -s bench-fleet

1,250 nodes with 8 GPUs each, 25 series a GPU, as dcgm-exporter writes them, in one text. Timed on one core: our whole
way (parse, windows, verdicts), and `prometheus_client.parser.text_string_to_metric_families` reading the same text. The
values that both read are compared. Then again with 1,000 GPUs, to see whether time grows as the fleet does.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from bulkhead.health.exposition import Blocks
from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Field, Snapshot
from bulkhead.health.policy import Policy
from bulkhead.health.sources.dcgm import LINK_ERRORS, METRICS, read, series
from bulkhead.health.verdict import Health

SERIES = 25
_RANGES = {
    Field.SM_CLOCK: (1970, 1985),
    Field.TEMPERATURE: (40, 70),
    Field.MEMORY_TEMPERATURE: (45, 80),
    Field.POWER: (300, 690),
    Field.ENERGY: (1e9, 1e12),
    Field.UTILISATION: (95, 100),
    Field.MEMORY_CLOCK: (2619, 2619),
}
_MOST_MIB = 600


def exposition(gpus: int, seed: int) -> str:
    """A scrape as dcgm-exporter writes it.

    Args:
        gpus: how many, 8 a node.

    Returns:
        The text, ``SERIES`` series a GPU.
    """
    randomness = random.Random(seed)
    fields = {name: field for name, field in METRICS.items() if not name.endswith("THROTTLE_REASONS")}
    names = [*fields, *sorted(LINK_ERRORS)][:SERIES]
    labels = [
        f'gpu="{index % 8}",UUID="GPU-{index:08x}-4c1e-a2b3-0000-{index:012x}",'
        f'pci_bus_id="00000000:{index % 8:02X}:00.0",'
        f'device="nvidia{index % 8}",modelName="NVIDIA H100 80GB HBM3",Hostname="node-{index // 8:05d}",'
        f'namespace="team-{index % 7}",pod="train-{index // 8}",container="main"'
        for index in range(gpus)
    ]
    lines = []
    for name in names:
        low, high = _RANGES.get(fields.get(name, Field.LAST_XID), (0, 0))
        lines += [f"# HELP {name} of the GPU.", f"# TYPE {name} gauge"]
        lines += [f"{name}{{{label}}} {randomness.uniform(low, high):.6f}".replace(".000000", "") for label in labels]
    return "\n".join(lines) + "\n"


def pipeline(text: str) -> tuple[Fleet, Snapshot]:
    """Our whole way: parse, fold, judge.

    Returns:
        The fleet as judged, and what was read.
    """
    snapshot = Snapshot("bench", 1_000_000.0)
    read(text, snapshot, Blocks(series))
    snapshot.covers = snapshot.shown_nodes
    fleet = Fleet(Policy())
    assessment = fleet.take([snapshot], 1_000_001.0)
    if any(device.health is not Health.HEALTHY for device in assessment.devices.values()):
        raise SystemExit("a healthy fleet was not found healthy")
    return fleet, snapshot


def peer(text: str) -> dict[tuple[str, str], float]:
    """prometheus_client's parser.

    Returns:
        Values by metric and UUID.
    """
    families = text_string_to_metric_families(text)
    return {(sample.name, sample.labels["UUID"]): sample.value for family in families for sample in family.samples}


def same(snapshot: Snapshot, theirs: dict[tuple[str, str], float]) -> bool:
    """Whether both read the same values.

    Args:
        theirs: values by metric and UUID.
    """
    for (name, uuid), value in theirs.items():
        field = METRICS.get(name)
        if field is not None and snapshot.readings[uuid].fields[field] != value:
            return False
    return len(theirs) == len(snapshot.readings) * SERIES


def timed(work: Callable[[], object], rounds: int) -> float:
    """The median time of some work, in seconds of one core."""
    took = []
    for _ in range(rounds):
        gc.collect()
        begin = time.process_time()
        work()
        took.append(time.process_time() - begin)
    return statistics.median(took)


def main() -> int:
    """Run the benchmark; the last line is JSON.

    Returns:
        The exit status: 1 where a bar is not held.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    text = exposition(options.gpus, options.seed)
    ours = timed(lambda: pipeline(text), options.rounds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # before the peer's, which is greater
    _, snapshot = pipeline(text)
    agreed = same(snapshot, peer(text))
    theirs = timed(lambda: peer(text), options.rounds)
    small = exposition(options.gpus // 10, options.seed)
    tenth = timed(lambda: pipeline(small), options.rounds * 3)
    held = {
        "three_times_faster": theirs / ours >= 3,
        "memory": peak < _MOST_MIB,
        "linear": ours / tenth / 10 < 1.5,
        "same_values": agreed,
    }
    result = {
        "metric": "fleet",
        "gpus": options.gpus,
        "series": options.gpus * SERIES,
        "ours_s": round(ours, 3),
        "prometheus_client_s": round(theirs, 3),
        "times_faster": round(theirs / ours, 2),
        "peak_mib": peak,
        "tenth_of_the_fleet_s": round(tenth, 4),
        "per_gpu_of_ten_times_as_many": round(ours / tenth / 10, 2),
        "held": held,
    }
    print(json.dumps(result))
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
