"""Commands about releases: take them back, give them traffic, approve and isolate them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Annotated

import typer

from bulkhead import settings
from bulkhead.cli.console import app, console, errors_reported, who
from bulkhead.cli.status import traffic
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError, NotFoundError, UnavailableError
from bulkhead.isolation_levels import DEFAULT, IsolationLevel
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Rollout
from bulkhead.rollout.sentences import end


@app.command()
def rollback(
    service: Annotated[str, typer.Argument(help="the service to roll back")],
    to: Annotated[str | None, typer.Option(help="a revision that served before; see 'bulkhead status'")] = None,
    reason: Annotated[str, typer.Option(help="kept in the ledger")] = "asked for on the command line",
    wait_s: Annotated[float, typer.Option(help="how long to wait for the end, in seconds")] = 120,
) -> None:
    """Roll back what is in progress; where nothing is, return to the revision before the stable one, or to --to."""
    with errors_reported():
        control = Control(settings.load())
        request = _request(reason)
        if to is None:
            rollout = control.commands.roll_back(service, request)
        else:
            if (theirs := control.ledger.revisions.get(to).service) != service:
                raise InvalidInputError("--to", to, f"it is a revision of service {theirs!r}; give one of {service!r}")
            rollout = control.commands.roll_back_to(to, request)
        _report_end(control, rollout, wait_s)


@app.command()
def approve(
    service: Annotated[str, typer.Argument(help="the service whose rollout waits for a person")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")] = "",
) -> None:
    """Let a rollout go on from a step that asks for a person."""
    with errors_reported():
        control = Control(settings.load())
        rollout = control.commands.approve(_going(control, service), _request(reason))
        console.print(f"recorded: rollout {rollout.id} may go on from step {rollout.step + 1}")


@app.command()
def promote(
    service: Annotated[str, typer.Argument(help="the service whose rollout is to skip steps")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")] = "asked for on the command line",
) -> None:
    """Have a rollout go to the last step of its plan at once. It is judged there, and rolled back where it fails."""
    with errors_reported():
        control = Control(settings.load())
        rollout = control.commands.promote(_going(control, service), _request(reason))
        console.print(f"recorded: rollout {rollout.id} goes from step {rollout.step + 1} to its last one")


@app.command()
def isolate(
    revision: Annotated[str, typer.Argument(help="see 'bulkhead status'")],
    reason: Annotated[str, typer.Option(help="kept in the ledger, and shown to the next who asks for it")],
    level: Annotated[list[IsolationLevel], typer.Option(help="how far; may be given several times")] = list(DEFAULT),  # noqa: B006
    wait_s: Annotated[float, typer.Option(help="how long to wait for the end of its traffic, in seconds")] = 120,
) -> None:
    """Take a revision's traffic away and refuse it; by default its model as well."""
    with errors_reported():
        control = Control(settings.load())
        request = _request(reason)
        control.commands.isolate(revision, request, levels=level, budgeted=False)
        console.print(f"recorded: revision {revision} is isolated")
        service = control.ledger.revisions.get(revision).service
        _reconcile_until(control, lambda: not _has_traffic(control, service, revision), wait_s, "it still has traffic")
        console.print(f"traffic of {service}: {traffic(control, service)}")


@app.command()
def unisolate(
    revision: Annotated[str, typer.Argument(help="an isolated revision")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")],
) -> None:
    """End a revision's isolation. Gives no traffic: 'bulkhead rollback --to' does, or the next release of it."""
    with errors_reported():
        Control(settings.load()).commands.unisolate(revision, _request(reason))
        console.print(f"recorded: revision {revision} may have traffic again")


@app.command(deprecated=True, hidden=True)
def release(
    revision: Annotated[str, typer.Argument(help="an isolated revision")],
    reason: Annotated[str, typer.Option(help="kept in the ledger")],
) -> None:
    """Now 'bulkhead unisolate REVISION'."""
    unisolate(revision, reason)


def _going(control: Control, service: str) -> int:
    """Id of a service's rollout in progress."""
    try:
        control.ledger.services.get(service)
    except NotFoundError:
        _refuse_revision(control, service)
        raise
    rollout = control.ledger.rollouts.active_of(service)
    if rollout is None:
        raise NotFoundError(f"service {service!r} has no rollout in progress; see 'bulkhead status {service}'")
    return rollout.id


def _refuse_revision(control: Control, word: str) -> None:
    """'promote' gave a revision its traffic back once: who still types that is told what does so now."""
    try:
        service = control.ledger.revisions.get(word).service
    except NotFoundError:
        return
    back = f"'bulkhead rollback {service} --to {word}' gives it all of the traffic again"
    raise InvalidInputError("service", word, f"it is a revision of service {service!r}; {back}")


def _report_end(control: Control, rollout: Rollout, wait_s: float) -> None:
    console.print(f"recorded: rollout {rollout.id} of revision {rollout.revision_id}")
    what = f"rollout {rollout.id} has not ended"
    _reconcile_until(control, lambda: control.ledger.rollouts.get(rollout.id).phase.ended, wait_s, what)
    console.print(end(control.ledger.rollouts.get(rollout.id)))
    console.print(f"traffic of {rollout.service}: {traffic(control, rollout.service)}")


def _reconcile_until(control: Control, done: Callable[[], bool], wait_s: float, what: str) -> None:
    stop = threading.Event()
    timer = threading.Timer(wait_s, stop.set)
    timer.start()
    try:
        if not control.reconcile_until(done, stop):
            raise UnavailableError(f"{what} after {wait_s:g} s; see 'bulkhead status'")
    finally:
        timer.cancel()


def _request(reason: str) -> Request:
    return Request(f"cli/{uuid.uuid4()}", reason, who())


def _has_traffic(control: Control, service: str, revision: str) -> bool:
    return bool(traffic(control, service).get(revision))
