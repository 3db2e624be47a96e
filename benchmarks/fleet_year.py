"""A year of a fleet of 2,000 GPUs: what is contained, and what containment costs.

    make -s bench-fleet-year

250 nodes with 8 GPUs. Faults come at published rates, and so do the things that look like faults. Each hour that has
something to see is played as eight polls, 15 s apart, through the code that judges and quarantines for real (windows,
verdicts, ledger, controller), by the clock of the simulation. A device in quarantine is repaired after some hours,
tested, and comes back. The same year is played with the budget, and without.

Rates: GPU and HBM faults of Llama 3 405B (Meta, "The Llama 3 Herd of Models", table 5: 148 and 72 in 54 days on 16,384
H100). How these split into signs, and the rates of what is no fault, are ours: there is no published figure.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from bulkhead.health.assess import assess_nodes, doubt
from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Device, Field, NodeState, Reading, Snapshot, XidEvent
from bulkhead.health.policy import Doubt, Policy
from bulkhead.health.quarantine import QuarantineController
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health, Reason
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import Quarantines
from bulkhead.settings import FleetSettings
from bulkhead.xids import RecommendedAction

GPUS_A_NODE, HOURS, BEGIN = 8, 365 * 24, 1_767_225_600.0
_LLAMA_YEARS = 16_384 * 54 / 365
GPU_FAULTS, HBM_FAULTS = 148 / _LLAMA_YEARS, 72 / _LLAMA_YEARS
"""A GPU-year."""

USER_BUGS, SLOW, LEMONS = 4.0, 0.01, 0.012
"""A GPU-year; the last one: share of devices that fail again soon after each repair."""

NODE_OUTAGES, RELEASES = 6.0, 4
"""Exporter outages a node-year; bad exporter releases a year, every second one of which spreads node by node."""

_POLLS, _INTERVAL_S = 8, 15.0
_REPAIR_H = (4, 48)
_SOUND = {
    Field.TEMPERATURE: 55.0,
    Field.UTILISATION: 99.0,
    Field.SM_CLOCK: 1980.0,
    Field.POWER: 600.0,
    Field.ECC_UNCORRECTED: 0.0,
    Field.NVLINK_ERRORS: 0.0,
    Field.ROW_REMAP_FAILURE: 0.0,
}


@dataclass
class Gpu:
    """A device of the simulation.

    Attributes:
        device: as it is known.
        fault: what is really wrong with it, or empty.
        since: when that began, in hours.
        repaired_at: when whoever repairs it is done, in hours; None where nobody does.
        lemon: whether it fails again soon after each repair.
        energy: counter.
        last_xid: as its exporter shows it.
    """

    device: Device
    fault: str = ""
    since: int = 0
    repaired_at: int | None = None
    lemon: bool = False
    energy: float = 0.0
    last_xid: int = 0


@dataclass
class Tally:
    """What a year came to."""

    faults: int = 0
    contained: int = 0
    hours_to_contain: list[int] = field(default_factory=list)
    false_quarantines: int = 0
    gpu_hours_lost: int = 0
    gpu_hours_lost_falsely: int = 0
    most_at_once: int = 0
    refused: int = 0
    persons: int = 0


class Year:
    """One year.

    Args:
        seed: of everything that happens; the same for two years that are compared.
        budget: whether quarantines have one.
    """

    def __init__(self, nodes: int, seed: int, budget: bool, folder: str) -> None:
        self._random, self._hour, self.tally = random.Random(seed), 0, Tally()
        names = [f"n{number:03d}" for number in range(nodes)]
        self._gpus = {
            f"GPU-{name}-{index}": Gpu(
                Device(f"GPU-{name}-{index}", name, "H100"), lemon=self._random.random() < LEMONS
            )
            for name in names
            for index in range(GPUS_A_NODE)
        }
        self._on = {name: [gpu for gpu in self._gpus.values() if gpu.device.node == name] for name in names}
        self._states = {name: NodeState(name, True, pool=f"pool-{index // 50}") for index, name in enumerate(names)}
        self._fleets: dict[str, Fleet] = {}
        self._next: dict[str, int] = {}
        self._quiet: dict[str, int] = {}
        self._lying: set[str] = set()
        self._policy, self._verdicts = Policy(), dict[str, DeviceVerdict]()
        ledger = Ledger(f"sqlite:///{folder}/{'budget' if budget else 'none'}.db")
        self._quarantines = Quarantines(ledger.engine, lambda: datetime.fromtimestamp(self._now, UTC))
        settings = FleetSettings(budget_share=0.05 if budget else 1.0, probation_s=6 * 3600.0)
        self._controller = QuarantineController(self._quarantines, settings, None, "simulation")
        self._counted: set[int] = set()

    @property
    def _now(self) -> float:
        return BEGIN + self._hour * 3600 + _POLLS * _INTERVAL_S

    def play(self) -> Tally:
        """Live through it.

        Returns:
            What it came to.
        """
        events = self._events()
        for self._hour in range(HOURS):
            for happen in events.get(self._hour, ()):
                happen()
            self._repair()
            held = self._quarantines.held()
            involved = {node for node in self._fleets if self._hour >= self._next[node]}
            if involved or held:
                self._poll(involved)
            self._count()
        return self.tally

    def _events(self) -> Mapping[int, list[Callable[[], None]]]:
        """What happens in each hour; drawn before anything is done about it, so that two years are the same."""
        happen: dict[int, list[Callable[[], None]]] = {}

        def draw(count: float, what: Callable[[], Callable[[], None]]) -> None:
            for _ in range(int(count + self._random.random())):
                happen.setdefault(self._random.randrange(HOURS), []).append(what())

        gpus, nodes = len(self._gpus), len(self._states)
        names, uuids = sorted(self._states), sorted(self._gpus)
        draw(GPU_FAULTS * gpus, lambda: self._breaks(self._random.choice(uuids), self._random.choice(_GPU_SIGNS)))
        draw(HBM_FAULTS * gpus, lambda: self._breaks(self._random.choice(uuids), self._random.choice(_HBM_SIGNS)))
        draw(SLOW * gpus, lambda: self._breaks(self._random.choice(uuids), "slow"))
        draw(USER_BUGS * gpus, lambda: self._bug(self._random.choice(uuids)))
        draw(NODE_OUTAGES * nodes, lambda: self._outage(self._random.choice(names)))
        for number in range(RELEASES):
            self._release(happen, names, self._random.randrange(HOURS - 100), gradual=bool(number % 2))
        return happen

    def _breaks(self, uuid: str, sign: str) -> Callable[[], None]:
        def act() -> None:
            gpu = self._gpus[uuid]
            if not gpu.fault:
                gpu.fault, gpu.since, gpu.repaired_at = sign, self._hour, None
                self.tally.faults += 1
            self._watch(gpu.device.node)

        return act

    def _bug(self, uuid: str) -> Callable[[], None]:
        """A user's program has an Xid of its own; the gauge keeps it."""
        xid = self._random.choice((13, 31, 43))

        def act() -> None:
            self._watch(self._gpus[uuid].device.node)
            self._gpus[uuid].last_xid = xid

        return act

    def _outage(self, node: str) -> Callable[[], None]:
        return lambda: self._watch(node)

    def _release(self, happen: dict[int, list[Callable[[], None]]], names: list[str], hour: int, gradual: bool) -> None:
        """An exporter release that says of every row that it cannot be remapped.

        It reaches all nodes at once, or two an hour until somebody stops it after a day; then it is rolled back.
        """
        for index, name in enumerate(names):
            begin = hour + (index // 2 if gradual else 0)
            if begin >= hour + 24:
                return
            happen.setdefault(begin, []).append(partial(self._lie, name))
            happen.setdefault(hour + 24, []).append(partial(self._lying.discard, name))

    def _lie(self, node: str) -> None:
        self._watch(node)
        self._lying.add(node)

    def _watch(self, node: str) -> None:
        """Begin to play a node: one poll from before anything happens, as its exporter has always shown it."""
        self._next[node], self._quiet[node] = self._hour, 0
        if node not in self._fleets:
            self._fleets[node] = Fleet(_BY_NODE)
            at = BEGIN + self._hour * 3600 - _INTERVAL_S
            self._fleets[node].take([self._shown(node, at, healthy=True)], at)

    def _repair(self) -> None:
        held = {row.target: row for row in self._quarantines.held()}
        for target, row in held.items():
            gpus = [played for played in self._on[row.node] if target in (played.device.uuid, row.node)]
            for gpu in gpus:
                if gpu.repaired_at is None:
                    gpu.repaired_at = self._hour + self._random.randint(*_REPAIR_H)
            if row.passed_at is None and all((gpu.repaired_at or 0) <= self._hour for gpu in gpus):
                for gpu in gpus:
                    if gpu.fault and not gpu.lemon:
                        self._mended(gpu)
                    elif gpu.fault:
                        gpu.lemon = self._random.random() < 0.7  # a lemon passes the test, and fails again
                        gpu.since, gpu.repaired_at = self._hour + 2, None
                    gpu.last_xid = 0
                self._watch(row.node)
                if row.node not in self._lying:
                    self._quarantines.passed(target, "simulated")

    def _mended(self, gpu: Gpu) -> None:
        gpu.fault, gpu.repaired_at = "", None

    def _poll(self, involved: set[str]) -> None:
        """Eight polls at the nodes that have something to see; the others are as they were."""
        for node in involved:
            fleet = self._fleets[node]
            stood = {uuid: verdict.health for uuid, verdict in fleet.verdicts.items()}
            for number in range(1, _POLLS + 1):
                at = BEGIN + self._hour * 3600 + number * _INTERVAL_S
                fleet.take([self._shown(node, at)], at)
            same = stood == {uuid: verdict.health for uuid, verdict in fleet.verdicts.items()}
            self._quiet[node] = self._quiet[node] + 1 if same else 0
            self._next[node] = self._hour + min(1 + self._quiet[node], 12)  # what does not change is looked at less
        verdicts = {uuid: _fine(gpu.device, self._now) for uuid, gpu in self._gpus.items()}
        for fleet in self._fleets.values():
            verdicts.update(fleet.verdicts)
        self._verdicts = doubt(verdicts, self._verdicts, self._policy)
        for fleet in self._fleets.values():
            fleet.verdicts = {uuid: self._verdicts[uuid] for uuid in fleet.verdicts}
        nodes = assess_nodes(self._verdicts.values(), self._states, self._policy)
        done = self._controller.step(Assessment(self._now, self._verdicts, nodes))
        self.tally.refused += len(done.refused)
        for row in done.started:
            self._started(row.target, row.id)
        self._forget()

    def _started(self, target: str, number: int) -> None:
        if number in self._counted:
            return
        self._counted.add(number)
        broken = [
            played
            for played in self._gpus.values()
            if played.fault and target in (played.device.uuid, played.device.node)
        ]
        if not broken:
            self.tally.false_quarantines += 1
        for gpu in broken:
            self.tally.contained += 1
            self.tally.hours_to_contain.append(self._hour - gpu.since)

    def _forget(self) -> None:
        """Stop playing nodes where nothing is left to see."""
        held = {row.node for row in self._quarantines.open_ones()}
        for node in list(self._fleets):
            gpus = self._on[node]
            quiet = all(self._verdicts.get(gpu.device.uuid, _UNSEEN).health is Health.HEALTHY for gpu in gpus)
            if quiet and node not in held | self._lying and not any(gpu.fault for gpu in gpus):
                del self._fleets[node]

    def _shown(self, node: str, at: float, healthy: bool = False) -> Snapshot:
        snapshot = Snapshot("dcgm", at, covers=frozenset({node}))
        for gpu in self._on[node]:
            begun = bool(gpu.fault) and not healthy and gpu.since <= self._hour
            if begun and gpu.fault == "gone":
                snapshot.xids[gpu.device.uuid] = [XidEvent(BEGIN + gpu.since * 3600 + 1, 79)]
                continue
            gpu.energy += 9e6
            fields = {**_SOUND, Field.ENERGY: gpu.energy, Field.LAST_XID: float(gpu.last_xid)}
            if begun:
                fields.update(_SIGNS[gpu.fault])
                gpu.last_xid = int(fields[Field.LAST_XID])
            if node in self._lying and not healthy:
                fields[Field.ROW_REMAP_FAILURE] = 1.0
            snapshot.readings[gpu.device.uuid] = Reading(gpu.device, at, fields, f"ml/job-{gpu.last_xid}")
        return snapshot

    def _count(self) -> None:
        rows = self._quarantines.held()
        nodes = {row.node for row in rows}
        broken = {gpu.device.node for gpu in self._gpus.values() if gpu.fault}
        self.tally.gpu_hours_lost += GPUS_A_NODE * len(nodes)
        self.tally.gpu_hours_lost_falsely += GPUS_A_NODE * len(nodes - broken)
        self.tally.most_at_once = max(self.tally.most_at_once, GPUS_A_NODE * len(nodes))
        self.tally.persons = max(self.tally.persons, sum(row.phase == "manual" for row in rows))


_GPU_SIGNS = ("gone", "xid-119", "xid-79", "xid-109", "xid-74x")
_HBM_SIGNS = ("dbe", "remap", "xid-95")
_SIGNS: dict[str, dict[Field, float]] = {
    "xid-119": {Field.LAST_XID: 119.0},
    "xid-79": {Field.LAST_XID: 79.0},
    "xid-109": {Field.LAST_XID: 109.0},
    "xid-95": {Field.LAST_XID: 95.0},
    "xid-74x": {Field.LAST_XID: 74.0, Field.NVLINK_ERRORS: 1e6},
    "dbe": {Field.ECC_UNCORRECTED: 3.0},
    "remap": {Field.ROW_REMAP_FAILURE: 1.0},
    "slow": {Field.SM_CLOCK: 1200.0},
}


def _fine(device: Device, now: float) -> DeviceVerdict:
    return DeviceVerdict(device, Health.HEALTHY, Reason.NOTHING, "", RecommendedAction.NONE, 1.0, now, now)


_BY_NODE = Policy(doubt=Doubt(mass_least=10**6))
"""Nodes are played one by one; whether to doubt is asked of all of them together."""

_UNSEEN = _fine(Device("", ""), 0.0)


def main() -> Iterator[str]:
    """Play the year twice; yields lines, the last of which is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=250)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    logging.disable(logging.ERROR)  # each refusal of the budget would be a line
    result: dict[str, object] = {"metric": "fleet_year", "gpus": options.nodes * GPUS_A_NODE, "seed": options.seed}
    with tempfile.TemporaryDirectory() as folder:
        for name, budget in (("budget", True), ("no_budget", False)):
            tally = Year(options.nodes, options.seed, budget, folder).play()
            hours = sorted(tally.hours_to_contain)
            result[name] = {
                "faults": tally.faults,
                "contained": tally.contained,
                "hours_to_contain_p50": hours[len(hours) // 2] if hours else None,
                "false_quarantines": tally.false_quarantines,
                "gpu_hours_lost": tally.gpu_hours_lost,
                "gpu_hours_lost_falsely": tally.gpu_hours_lost_falsely,
                "most_gpus_at_once": tally.most_at_once,
                "times_refused": tally.refused,
                "left_to_a_person": tally.persons,
            }
            yield f"{name}: {result[name]}"
    yield json.dumps(result)


if __name__ == "__main__":
    for line in main():
        print(line, flush=True)
    sys.exit(0)
