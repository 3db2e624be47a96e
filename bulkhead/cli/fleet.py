"""Commands about devices: how a fleet stands, and what is kept away from work."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from bulkhead import fleets, settings
from bulkhead.cli.console import app, console, errors_reported, on_termination, print_table, who
from bulkhead.control import Control
from bulkhead.errors import NotFoundError
from bulkhead.health.quarantine import summary
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health, NodeVerdict
from bulkhead.ledger.quarantines import Target
from bulkhead.ledger.tables import Quarantine
from bulkhead.logs import log_to_console
from bulkhead.monitoring.component import monitored
from bulkhead.monitoring.fleet_metrics import FleetMetrics

log = logging.getLogger(__name__)
quarantine = typer.Typer(no_args_is_help=True, help="Keep a device or a node away from work, and let it back.")
app.add_typer(quarantine, name="quarantine")


@app.command()
def fleet(
    source: Annotated[list[str] | None, typer.Option(help="dcgm-exporter's URL, instead of the configuration")] = None,
    everything: Annotated[bool, typer.Option("--all", help="healthy devices as well")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    watch: Annotated[bool, typer.Option(help="look until SIGTERM, and quarantine what is unhealthy")] = False,
) -> None:
    """Show how nodes and devices stand.

    Exits with 0 where nothing is unhealthy, 1 where something is, 3 where nothing is known of any device.
    """
    with errors_reported():
        control = Control(settings.load())
        if watch:
            _watch(control)
            return
        own = fleets.watch(control.settings, None, source) if source else control.fleet_watch()
        assessment = own.poll()
        held = [] if source else [_held_row(quarantine) for quarantine in control.ledger.quarantines.open_ones()]
    shown = [
        device for device in assessment.devices.values() if everything or as_json or device.health is not Health.HEALTHY
    ]
    devices = [_device_row(row) for row in sorted(shown, key=lambda row: (row.device.node, row.device.uuid))]
    nodes = [_node_row(verdict) for verdict in sorted(assessment.nodes.values(), key=lambda verdict: verdict.node)]
    if as_json:
        print(json.dumps({**_notes(assessment), "nodes": nodes, "devices": devices, "quarantines": held}))
    else:
        print_table("Nodes", nodes)
        if devices:
            print_table("Devices" if everything else "Devices that are not healthy", devices)
        if held:
            print_table("Quarantines", held)
        console.print(", ".join(f"{count} {health}" for health, count in summary(assessment).items()))
        for name, why in assessment.failed.items():
            console.print(f"no answer: {why}" if name in why else f"no answer of {name}: {why}")
        for name, problems in assessment.problems.items():
            console.print(f"not understood of {name}: {problems}")
    raise typer.Exit(_status(assessment))


@quarantine.command("start")
def start(
    target: Annotated[str, typer.Argument(help="a node's name, or a device's UUID; see 'bulkhead fleet'")],
    reason: Annotated[str, typer.Option(help="kept in the ledger, and on the node")],
) -> None:
    """Keep a device or a node away from work. Has no budget: a person decides."""
    with errors_reported():
        control = Control(settings.load())
        row = control.ledger.quarantines.start(
            _target(control, target),
            reason="person",
            evidence=reason,
            action="contact-support",
            holder=who(),
            probation_s=control.settings.fleet.probation_s,
            evidence_at=datetime.now(UTC),
            budget=None,
        )
        console.print(f"recorded: {row.target} is in quarantine; {_show(control)}")


@quarantine.command("passed")
def passed(
    target: Annotated[str, typer.Argument(help="a device or node in quarantine")],
    reason: Annotated[str, typer.Option(help="what was done, and what passed")],
) -> None:
    """Say that a diagnostic has passed: probation follows, if nothing has come since."""
    with errors_reported():
        control = Control(settings.load())
        control.ledger.quarantines.passed(target, f"{reason} ({who()})")
        console.print(f"recorded: {target} has passed; the next poll of the fleet's watch begins its probation")


@quarantine.command("end")
def end(
    target: Annotated[str, typer.Argument(help="a device or node in quarantine")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")],
) -> None:
    """Let a device or a node back to work at once."""
    with errors_reported():
        control = Control(settings.load())
        control.ledger.quarantines.end(target, reason=reason, holder=who())
        console.print(f"recorded: {target} may work again; {_show(control)}")


@quarantine.command("impose", deprecated=True, hidden=True)
def impose(
    target: Annotated[str, typer.Argument(help="a node's name, or a device's UUID")],
    reason: Annotated[str, typer.Option(help="kept in the ledger, and on the node")],
) -> None:
    """Now 'bulkhead quarantine start'."""
    start(target, reason)


@quarantine.command("release", deprecated=True, hidden=True)
def release(
    target: Annotated[str, typer.Argument(help="a device or node in quarantine")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")],
) -> None:
    """Now 'bulkhead quarantine end'."""
    end(target, reason)


def _watch(control: Control) -> None:
    log_to_console(control.settings.log_format)
    stop = threading.Event()
    on_termination(stop.set)
    under_watch, controller = control.fleet_watch(), control.quarantine_controller()
    configured = control.settings
    with monitored(
        configured.monitoring, "fleet-watch", lambda: control.ledger, every_s=configured.fleet.poll_s
    ) as loop:
        metrics = FleetMetrics(loop.registry, configured.fleet.budget)

        def poll() -> None:
            assessment = under_watch.poll()
            done = controller.step(assessment)
            under_watch.remember()
            metrics.show(assessment, done)
            log.info("%s; %d quarantines began", summary(assessment), len(done.started))

        loop.repeat(poll, configured.fleet.poll_s, stop)


def _show(control: Control) -> str:
    """Have the cluster show what the ledger says, at once."""
    if not control.settings.fleet.nodes:
        return "on paper: the configuration names no cluster (fleet.nodes)"
    failed = control.quarantine_controller().show().failed
    return "; ".join(f"node {node}: {why}" for node, why in failed.items()) or "the cluster shows it"


def _target(control: Control, name: str) -> Target:
    """What a person means by a name."""
    remembered = control.ledger.fleet.remembered()
    for node, devices in remembered.items():
        if name in devices:
            return Target(name, "device", node, devices[name]["device"]["model"])
    if name not in remembered and not control.settings.fleet.nodes:
        raise NotFoundError(f"{name!r} is no node or device that a watch has seen; see 'bulkhead fleet'")
    models = [entry["device"]["model"] for entry in remembered.get(name, {}).values()]
    return Target(name, "node", name, models[0] if models else "", size=max(len(models), 1))


def _status(assessment: Assessment) -> int:
    stands = {device.health for device in assessment.devices.values()}
    if Health.UNHEALTHY in stands:
        return 1
    return 3 if stands <= {Health.UNKNOWN} else 0


def _notes(assessment: Assessment) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(assessment.at, UTC).isoformat(timespec="seconds"),
        "summary": summary(assessment),
        "failed": assessment.failed,
        "problems": assessment.problems,
    }


def _device_row(verdict: DeviceVerdict) -> dict[str, Any]:
    return {
        "node": verdict.device.node,
        "device": verdict.device.uuid,
        "model": verdict.device.model,
        "health": str(verdict.health),
        "reason": str(verdict.reason),
        "evidence": verdict.text,
        "action": str(verdict.action),
        "confidence": verdict.confidence,
        "since": datetime.fromtimestamp(verdict.since, UTC).isoformat(timespec="seconds"),
        "job": verdict.job,
    }


def _node_row(verdict: NodeVerdict) -> dict[str, Any]:
    return {
        "node": verdict.node,
        "pool": verdict.pool,
        "health": str(verdict.health),
        "healthy": f"{verdict.healthy} of {verdict.devices}",
        "reason": str(verdict.reason),
        "evidence": verdict.text,
        "action": str(verdict.action),
        "cordoned": verdict.cordoned,
    }


def _held_row(quarantine: Quarantine) -> dict[str, Any]:
    return {
        "target": quarantine.target,
        "node": quarantine.node,
        "phase": str(quarantine.phase),
        "applied phase": str(quarantine.applied_phase) if quarantine.applied_phase else "not yet",
        "since": quarantine.phase_at.isoformat(timespec="seconds"),
        "reason": quarantine.evidence,
        "action": quarantine.action,
        "relapses": quarantine.relapses,
    }
