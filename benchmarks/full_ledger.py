"""A ledger as a large installation has it: services with many releases behind them, and a fleet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, update

from bulkhead.events import EventKind, Rule
from bulkhead.health.verdict import Health
from bulkhead.ledger.fleet import DeviceStand, NodeStand
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.measurements import RELEASES_KEPT
from bulkhead.ledger.quarantines import Target
from bulkhead.ledger.tables import Base, Event, Measurement, Phase, Revision, Rollout, Service
from bulkhead.rollout.plan import Plan

MODEL = "NVIDIA-H100"
PER_NODE = 8
"""GPUs of a node."""

_PLAN = Plan(steps=(10, 50, 100))
_ROLLED_BACK = 4
"""Every so many releases one is."""

_MEASURED = 40
"""Rows of a release's course."""

_AT_ONCE = 20_000


@dataclass(frozen=True)
class Size:
    """How large a ledger is.

    Attributes:
        services, rollouts, gpus: how many.
        going: services with a release in progress, which stands at its first step.
    """

    services: int
    rollouts: int
    gpus: int
    going: int = 10


def fill(ledger: Ledger, size: Size) -> None:
    """Fill an empty ledger.

    Args:
        ledger: that is filled.
        size: of it.
    """
    with ledger.engine.begin() as connection:
        _releases(connection, size, datetime.now(UTC) - timedelta(days=365))
    watch(ledger, size.gpus)
    now = datetime.now(UTC)
    for number in range(0, size.gpus // PER_NODE, 100):
        ledger.quarantines.start(
            Target(_uuid(number, 0), "device", _node(number), MODEL, "train"),
            reason="xid",
            evidence=_SICK,
            action="reset",
            holder="fleet",
            probation_s=3600,
            evidence_at=now,
            budget=None,
        )


def watch(ledger: Ledger, gpus: int) -> None:
    """Leave what the fleet's watch leaves at one look: one GPU in every hundredth node is sick.

    Args:
        ledger: where.
        gpus: how many there are.
    """
    nodes, devices = [], []
    for number in range(gpus // PER_NODE):
        sick = number % 100 == 0
        health = Health.UNHEALTHY if sick else Health.HEALTHY
        nodes.append(NodeStand(_node(number), MODEL, "train", health=health, devices=PER_NODE, healthy=PER_NODE - sick))
        for slot in range(PER_NODE):
            verdict = (Health.UNHEALTHY, "xid", _SICK, "reset") if sick and slot == 0 else (Health.HEALTHY, "", "", "")
            devices.append(
                DeviceStand(_uuid(number, slot), _node(number), MODEL, *verdict, f"ml/train-{number}", _SINCE)
            )
    ledger.fleet.remember({node.name: {} for node in nodes}, nodes, devices)


def judgement(requests: int, failures: int) -> dict[str, Any]:
    """What is measured of a candidate and of stable, as the ledger keeps it.

    Args:
        requests: of the candidate.
        failures: of those.
    """
    arm = {"timed": requests, "slow": 0, "p50_ms": [1.0, 5.0], "p99_ms": [5.0, 10.0]}
    return {
        "candidate": {"requests": requests, "failures": failures, "statuses": {"500": failures}, **arm},
        "stable": {"requests": 9 * requests, "failures": 0, **arm},
        "window_s": requests / 10,
        "evidence": {Rule.ERRORS: failures / 4, Rule.LATENCY: 0.0, Rule.MORE_ERRORS: failures / 8, Rule.SLOWER: 0.0},
    }


def service_name(number: int) -> str:
    """Of the service of a number."""
    return f"service-{number:04}"


def _releases(connection: Connection, size: Size, begin: datetime) -> None:
    each, apart = size.rollouts // size.services, timedelta(days=364) / size.rollouts
    services: list[dict[str, Any]] = []
    rows: dict[type[Base], list[dict[str, Any]]] = {Revision: [], Rollout: [], Event: [], Measurement: []}
    for turn in range(each):
        for number in range(size.services):
            rollout_id, name = len(rows[Rollout]) + 1, service_name(number)
            at, revision = begin + rollout_id * apart, f"{name}-{turn:08x}"
            stable = services[number]["stable_revision"] if turn else None
            last = turn == each - 1
            going = last and number < size.going
            back = not going and turn > 0 and (turn + number) % _ROLLED_BACK == 0
            if turn == 0:
                services.append({"name": name, "generation": each, "stable_revision": revision})
            elif not back and not going:
                services[number]["stable_revision"] = revision
            phase = Phase.ANALYSING if going else Phase.ROLLED_BACK if back else Phase.PROMOTED
            rows[Revision].append(_revision(revision, name, turn, at))
            rows[Rollout].append(_rollout(rollout_id, revision, name, stable, turn + 1, phase, at))
            happened = _events(phase, revision, at)
            rows[Event] += [{"service": name, "rollout_id": rollout_id, **event} for event in happened]
            if turn >= each - RELEASES_KEPT:
                rows[Measurement] += _course(rollout_id, back, at)
    connection.execute(insert(Service), [{**row, "stable_revision": None} for row in services])
    for table, of_table in rows.items():
        for first in range(0, len(of_table), _AT_ONCE):
            connection.execute(insert(table), of_table[first : first + _AT_ONCE])
    for row in services:
        connection.execute(update(Service).where(Service.name == row["name"]).values(row))


def _revision(name: str, service: str, turn: int, at: datetime) -> dict[str, Any]:
    return {
        "id": name,
        "service": service,
        "model_name": service,
        "model_uri": f"models:/m-{name}",
        "model_version": str(turn + 1),
        "image": "registry.example.com/serving:1.4.2",
        "serve": {"gpus": 1, "memory": "4Gi", "replicas": "1"},
        "evidence": {"champion": f"version {turn}", "accuracy_score": 0.98, "run_id": name, "experiment_id": "1"},
        "created_at": at,
    }


def _rollout(
    rollout_id: int, revision: str, service: str, stable: str | None, generation: int, phase: Phase, at: datetime
) -> dict[str, Any]:
    back = phase is Phase.ROLLED_BACK
    ended_at = at + timedelta(minutes=20) if phase.ended else None
    return {
        "id": rollout_id,
        "key": f"run-{rollout_id}",
        "service": service,
        "owner": f"airflow:release_{service}/scheduled__{rollout_id}/deploy",
        "revision_id": revision,
        "stable_id": stable,
        "generation": generation,
        "sequence": 12,
        "phase": phase,
        "step": 2 if phase is Phase.PROMOTED else 0,
        "plan": _PLAN.model_dump(mode="json"),
        "window": None,
        "reason": _REASON if back else None,
        "decision": _decision(Rule.ERRORS, 40, 9) if back else None,
        "created_at": at,
        "phase_at": ended_at or at,
        "exposed_at": at,
        "decided_at": ended_at if back else None,
        "contained_at": ended_at if back else None,
        "ended_at": ended_at,
        "trace": None,
    }


def _decision(rule: Rule, requests: int, failures: int, index: int = 0) -> dict[str, Any]:
    weight = _PLAN.steps[index].weight
    return {"index": index, "step": {"weight": weight}, "rule": rule, "numbers": judgement(requests, failures)}


def _events(phase: Phase, revision: str, at: datetime) -> Iterator[dict[str, Any]]:
    """Events of a release, ten seconds apart."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("requested", {"by": "scheduler", "revision": revision}),
        ("registered", {"after": "requested", "step": 0, "weight": 10}),
        ("launched", {"after": "registered", "step": 0, "weight": 10}),
        ("shifting", {"nodes": [_node(3)], "devices": [_uuid(3, 1)], "after": "launched", "step": 0, "weight": 10}),
        ("analysing", {"after": "shifting", "step": 0, "weight": 10}),
        (EventKind.WAITING, {"phase": "analysing", "index": 0, "for": "hold: min-requests", "why": "0 of at least 20"}),
    ]
    if phase is Phase.ROLLED_BACK:
        kinds.append((EventKind.ROLLBACK, {"reason": _REASON, **_decision(Rule.ERRORS, 40, 9)}))
        kinds += [
            (later, {"after": before, "step": 0, "weight": 10})
            for before, later in (("restoring", "unaliasing"), ("unaliasing", "draining"), ("draining", "rolled_back"))
        ]
    elif phase is Phase.PROMOTED:
        for index, step in enumerate(_PLAN.steps):
            passed = {"reason": "0 of 900 (0.0%) failed", **_decision(Rule.WITHIN_LIMITS, 900, 0, index)}
            kinds.append((EventKind.PASSED, passed))
            kinds.append(("shifting", {"after": "analysing", "step": index, "weight": step.weight}))
        kinds += [
            (later, {"after": before, "step": 2, "weight": 100})
            for before, later in (("analysing", "promoting"), ("promoting", "baking"), ("baking", "promoted"))
        ]
    for number, (kind, data) in enumerate(kinds):
        yield {"at": at + timedelta(seconds=10 * number), "kind": kind, "data": data}


def _course(rollout_id: int, back: bool, at: datetime) -> Iterator[dict[str, Any]]:
    for number in range(1, _MEASURED + 1):
        numbers = judgement(10 * number, number // 4 if back else 0)
        yield {"rollout_id": rollout_id, "at": at + timedelta(seconds=10 * number), "step": 0, "numbers": numbers}


def _node(number: int) -> str:
    return f"gpu-node-{number:05}"


def _uuid(node: int, slot: int) -> str:
    return f"GPU-{node:08x}-4c1e-a2b3-0000-{slot:012x}"


_SINCE = datetime(2026, 11, 1, tzinfo=UTC)
_SICK = "Xid 79: the GPU has fallen off the bus"
_REASON = "at 10 % of the traffic 9 of 40 (22.5%) requests failed, mostly 500, limit 1.0%"
