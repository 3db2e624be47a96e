"""What is known of a fleet as the ledger has it: windows and verdicts as JSON, from which a watch goes on where another
has ended, and how devices and nodes stand as rows, for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from bulkhead.health.conditions import Condition
from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Device, Field, Reading, XidEvent
from bulkhead.health.policy import Policy
from bulkhead.health.verdict import DeviceVerdict, Health, NodeVerdict, Reason
from bulkhead.health.window import EvidenceWindow
from bulkhead.ledger.fleet import DeviceStand, NodeStand
from bulkhead.ledger.tables import FleetNode
from bulkhead.pods.suspicion import Place
from bulkhead.xids import RecommendedAction


def dump(fleet: Fleet) -> dict[str, dict[str, Any]]:
    """What is known of a fleet, as JSON by node.

    Args:
        fleet: under watch.
    """
    nodes: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for uuid, window in fleet.windows.items():
        verdict = fleet.verdicts.get(uuid)
        nodes[window.device.node][uuid] = {
            "device": asdict(window.device),
            "window": _window(window),
            "verdict": _verdict(verdict) if verdict is not None else None,
        }
    return dict(nodes)


def load(nodes: Mapping[str, Mapping[str, Any]], policy: Policy) -> Fleet:
    """A fleet as it was.

    Args:
        nodes: of ``dump``.
    """
    windows, verdicts = {}, {}
    for devices in nodes.values():
        for uuid, data in devices.items():
            device = Device(**data["device"])
            windows[uuid] = _load_window(device, data["window"])
            if data["verdict"] is not None:
                verdicts[uuid] = _load_verdict(device, data["verdict"])
    return Fleet(policy, windows, verdicts)


def places(nodes: Iterable[FleetNode], held: Collection[str]) -> dict[str, Place]:
    """Where a fleet's nodes belong, and what their devices' readings say.

    Args:
        nodes: as a watch has kept them.
        held: nodes in quarantine.
    """
    return {
        row.name: Place(row.product, row.pool, row.usable and row.name not in held, _doubted(row.data)) for row in nodes
    }


def device_stands(verdicts: Iterable[DeviceVerdict]) -> Iterator[DeviceStand]:
    """How devices stand, as rows."""
    for verdict in verdicts:
        yield DeviceStand(
            uuid=verdict.device.uuid,
            node=verdict.device.node,
            model=verdict.device.model,
            health=verdict.health,
            reason=verdict.reason,
            evidence=verdict.text,
            action=verdict.action,
            job=verdict.job,
            since=datetime.fromtimestamp(verdict.since, UTC),
        )


def node_stands(verdicts: Iterable[NodeVerdict]) -> Iterator[NodeStand]:
    """How nodes stand, as rows."""
    for verdict in verdicts:
        yield NodeStand(
            name=verdict.node,
            product=verdict.product,
            pool=verdict.pool,
            usable=verdict.usable,
            cordoned=verdict.cordoned,
            health=verdict.health,
            reason=verdict.reason,
            evidence=verdict.text,
            action=verdict.action,
            devices=verdict.devices,
            healthy=verdict.healthy,
        )


def _doubted(devices: Mapping[str, Any]) -> bool:
    stands = {(data["verdict"] or {}).get("health") for data in devices.values()}
    return bool(stands & {Health.SUSPECT, Health.UNHEALTHY})


def _window(window: EvidenceWindow) -> dict[str, Any]:
    latest = window.latest
    reading = None
    if latest is not None:
        counts = {str(xid): count for xid, count in (latest.xid_counts or {}).items()}
        reading = {"at": latest.at, "fields": dict(latest.fields), "job": latest.job, "xid_counts": counts}
    return {
        "latest": reading,
        "source": window.source,
        "since": dict(window.since),
        "growth": {field: [list(pair) for pair in grown] for field, grown in window.growth.items()},
        "xids": [asdict(event) for event in window.xids],
        "missing": window.missing,
    }


def _load_window(device: Device, data: Mapping[str, Any]) -> EvidenceWindow:
    latest = data["latest"]
    if latest is not None:
        fields = {Field(name): value for name, value in latest["fields"].items()}
        counts = {int(xid): count for xid, count in latest["xid_counts"].items()} or None
        latest = Reading(device, latest["at"], fields, latest["job"], None, counts)
    return EvidenceWindow(
        device=device,
        latest=latest,
        source=data["source"],
        since={Condition(name): at for name, at in data["since"].items()},
        growth={Field(name): [(at, amount) for at, amount in grown] for name, grown in data["growth"].items()},
        xids=[XidEvent(**event) for event in data["xids"]],
        missing=data["missing"],
    )


def _verdict(verdict: DeviceVerdict) -> dict[str, Any]:
    return {
        "health": verdict.health,
        "reason": verdict.reason,
        "text": verdict.text,
        "action": verdict.action,
        "confidence": verdict.confidence,
        "since": verdict.since,
        "evidence_at": verdict.evidence_at,
        "job": verdict.job,
    }


def _load_verdict(device: Device, data: Mapping[str, Any]) -> DeviceVerdict:
    kinds = {
        "health": Health(data["health"]),
        "reason": Reason(data["reason"]),
        "action": RecommendedAction(data["action"]),
    }
    return DeviceVerdict(device=device, **{**data, **kinds})
