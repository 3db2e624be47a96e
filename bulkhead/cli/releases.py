"""Commands about releases: see them, take them back, give them traffic, isolate them."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import typer

from bulkhead import settings
from bulkhead.cli.console import app, console, print_table, told, who
from bulkhead.control import Control
from bulkhead.errors import BulkheadError, InvalidInputError, NotFoundError, UnavailableError
from bulkhead.ledger.tables import Isolation, Rollout
from bulkhead.rollout.plan import parse_plan
from bulkhead.rungs import DEFAULT, Rung


@app.command()
def status(
    service: Annotated[str | None, typer.Argument(help="only this service")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show services, their traffic, and the latest rollouts."""
    with told():
        control = Control(settings.load())
        services = [control.ledger.service(service)] if service else control.ledger.services()
        rows = [_service_row(control, one.name, one.stable_revision, one.generation) for one in services]
        rollouts = [_rollout_row(one) for one in control.ledger.rollouts(service)]
        isolated = [_isolated_row(control, one) for one in control.ledger.isolated(service)]
        if as_json:
            print(json.dumps({"services": rows, "rollouts": rollouts, "isolated": isolated}))
            return
        print_table("Services", rows)
        print_table("Latest rollouts", rollouts)
        if isolated:
            print_table("Isolated revisions", isolated)


@app.command()
def rollback(
    service: Annotated[str, typer.Argument(help="the service to roll back")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")] = "asked for on the command line",
    wait_s: Annotated[float, typer.Option(help="how long to wait for the end, in seconds")] = 120,
) -> None:
    """Roll back what is in progress; where nothing is, return to the revision before the stable one."""
    with told():
        control = Control(settings.load())
        rollout = control.roll_back(service, key=f"cli/{uuid.uuid4()}", reason=reason, requested_by=who())
        _tell_end(control, rollout, wait_s)


@app.command()
def promote(
    revision: Annotated[str, typer.Argument(help="a revision that its service had before; see 'bulkhead status'")],
    wait_s: Annotated[float, typer.Option(help="how long to wait for the end, in seconds")] = 120,
) -> None:
    """Give all traffic to an earlier revision, in one step; never to one that is isolated."""
    with told():
        control = Control(settings.load())
        rollout = control.give_traffic(revision, key=f"cli/{uuid.uuid4()}", requested_by=who())
        _tell_end(control, rollout, wait_s)


@app.command()
def approve(
    service: Annotated[str, typer.Argument(help="the service whose rollout waits for a person")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")] = "",
) -> None:
    """Let a rollout go on from a step that asks for a person."""
    with told():
        control = Control(settings.load())
        control.ledger.service(service)
        waiting = control.ledger.active_rollout(service)
        if waiting is None:
            raise NotFoundError(f"service {service!r} has no rollout in progress; see 'bulkhead status {service}'")
        rollout = control.approve(waiting.id, key=f"cli/{uuid.uuid4()}", requested_by=who(), reason=reason)
        console.print(f"recorded: rollout {rollout.id} may go on from step {rollout.step + 1}")


@app.command()
def isolate(
    revision: Annotated[str, typer.Argument(help="see 'bulkhead status'")],
    reason: Annotated[str, typer.Option(help="kept in the ledger, and told to whoever asks for it again")],
    rung: Annotated[list[Rung], typer.Option(help="how far; may be given several times")] = list(DEFAULT),  # noqa: B006
    wait_s: Annotated[float, typer.Option(help="how long to wait for the end of its traffic, in seconds")] = 120,
) -> None:
    """Take a revision's traffic away and refuse it; by default its model as well."""
    with told():
        control = Control(settings.load())
        asked = {"key": f"cli/{uuid.uuid4()}", "reason": reason, "requested_by": who()}
        control.isolate(revision, rungs=rung, budgeted=False, **asked)
        console.print(f"recorded: revision {revision} is isolated")
        service = control.ledger.revision(revision).service
        _reconcile_until(control, lambda: not _has_traffic(control, service, revision), wait_s, "it still has traffic")
        console.print(f"traffic of {service}: {_traffic(control, service)}")


@app.command()
def release(
    revision: Annotated[str, typer.Argument(help="an isolated revision")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")],
) -> None:
    """Take an isolation back. Gives no traffic: 'bulkhead promote' does, or the next release of it."""
    with told():
        ledger = Control(settings.load()).ledger
        ledger.release(revision, key=f"cli/{uuid.uuid4()}", reason=reason, requested_by=who())
        console.print(f"recorded: revision {revision} may have traffic again")


def _tell_end(control: Control, rollout: Rollout, wait_s: float) -> None:
    console.print(f"recorded: rollout {rollout.id} of revision {rollout.revision_id}")
    told = f"rollout {rollout.id} has not ended"
    _reconcile_until(control, lambda: control.ledger.rollout(rollout.id).phase.ended, wait_s, told)
    traffic, phase = _traffic(control, rollout.service), control.ledger.rollout(rollout.id).phase
    console.print(f"rollout {rollout.id} is {phase}; traffic of {rollout.service}: {traffic}")


def _reconcile_until(control: Control, done: Callable[[], bool], wait_s: float, told: str) -> None:
    stop = threading.Event()
    timer = threading.Timer(wait_s, stop.set)
    timer.start()
    try:
        if not control.reconcile_until(done, stop):
            raise UnavailableError(f"{told} after {wait_s:g} s; see 'bulkhead status'")
    finally:
        timer.cancel()


def _has_traffic(control: Control, service: str, revision: str) -> bool:
    return bool(_traffic(control, service).get(revision))


def _traffic(control: Control, service: str) -> dict[str, int]:
    """Percent by revision."""
    return dict(control.site(service).router.read(service)[1].weights)


def _service_row(control: Control, name: str, stable: str | None, generation: int) -> dict[str, Any]:
    try:
        weights: Any = _traffic(control, name)
    except BulkheadError as error:  # its router is away, or is not configured: the others are shown
        weights = str(error)
    failing = "; ".join(f"{work}: {why}" for work, why in control.ledger.failing(name).items())
    return {"service": name, "stable": stable, "traffic": weights, "generation": generation, "failing": failing or None}


def _rollout_row(rollout: Rollout) -> dict[str, Any]:
    return {
        "rollout": rollout.id,
        "service": rollout.service,
        "revision": rollout.revision_id,
        "phase": str(rollout.phase),
        "weight": _weight(rollout),
        "since": rollout.phase_at.isoformat(timespec="seconds"),
        "owner": rollout.owner,
        "reason": rollout.reason,
    }


def _weight(rollout: Rollout) -> int | None:
    """Percent of the step; None where the plan cannot be read."""
    try:
        return parse_plan(rollout.plan).steps[rollout.step].weight
    except (InvalidInputError, IndexError):
        return None


def _isolated_row(control: Control, isolation: Isolation) -> dict[str, Any]:
    rungs = control.ledger.isolations(isolation.revision_id)
    return {
        "revision": isolation.revision_id,
        "model": control.ledger.revision(isolation.revision_id).model_uri,
        "rungs": ", ".join(f"{one.rung}{'' if one.applied_at else ' (coming)'}" for one in rungs),
        "since": isolation.created_at.isoformat(timespec="seconds"),
        "reason": isolation.reason,
    }
