"""The command that shows what serves, what is under way and what became of the latest rollouts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from bulkhead import settings
from bulkhead.cli.console import WIDTH, app, console, errors_reported, print_lines, wrapped
from bulkhead.control import Control
from bulkhead.errors import BulkheadError
from bulkhead.ledger.tables import Isolation, Rollout, Service
from bulkhead.rollout.plan import readable_plan
from bulkhead.rollout.sentences import end, sentence

_BAR = 40
_SHORTEST_BAR = 5
_BESIDE_BAR = len("      100 %  candidate")
_EVENTS = 12


@app.command()
def status(
    service: Annotated[str | None, typer.Argument(help="only this service")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show what serves, what is under way and why, and the latest rollouts."""
    with errors_reported():
        control = Control(settings.load())
        services = [control.ledger.services.get(service)] if service else control.ledger.services.all()
        rollouts = control.ledger.rollouts.latest(service)
        isolated = control.ledger.isolations.in_force(service)
        if as_json:
            document = {
                "services": [_service_row(control, row) for row in services],
                "rollouts": [_rollout_row(rollout) for rollout in rollouts],
                "isolated": [_isolated_row(control, revision) for revision in isolated],
            }
            print(json.dumps(document))
            return
        if not services:
            console.print("Nothing was released yet.")
        for row in services:
            print_lines(_service(control, row))
        print_lines(_latest([rollout for rollout in rollouts if rollout.phase.ended]))
        print_lines(_isolations(control, isolated))


def _service(control: Control, service: Service) -> Iterator[str | Text]:
    active = control.ledger.rollouts.active_of(service.name)
    yield f"{service.name}, generation {service.generation} (times are UTC)"
    try:
        candidate = active.revision_id if active is not None else None
        yield from split(traffic(control, service.name), service.stable_revision, candidate)
    except BulkheadError as error:  # its router is away, or is not configured: the others are shown
        yield from wrapped(f"Its traffic is not known: {error}", "  ")
    for work, why in control.ledger.events.failing(service.name).items():
        yield from wrapped(f"Failing now: {work}: {why}", "  ")
    if active is not None:
        yield from _under_way(control, active)
    yield ""


def split(weights: Mapping[str, int], stable: str | None, candidate: str | None) -> Iterator[Text]:
    """A service's traffic as bars, a line for each revision that has some, or is to get some.

    Args:
        weights: percent by revision.
        stable: the stable revision; None where there is none yet.
        candidate: the revision of the rollout in progress; None where there is none.
    """
    roles = {candidate: ("candidate", "yellow"), stable: ("stable", "green")}
    shown = list(dict.fromkeys([*weights, *(shown_id for shown_id in (stable, candidate) if shown_id)]))
    width = max(map(len, shown), default=0)
    bar = max(_SHORTEST_BAR, min(_BAR, WIDTH - width - _BESIDE_BAR))
    for revision in shown:
        percent = weights.get(revision, 0)
        role, colour = roles.get(revision, ("", "red"))
        filled = round(percent * bar / 100) or int(percent > 0)
        line = Text(f"  {revision:{width}}  ")
        line.append("█" * filled, style=colour).append("░" * (bar - filled), style="dim")
        yield line.append(f" {percent:3d} %  {role}".rstrip())


def _under_way(control: Control, rollout: Rollout) -> Iterator[str]:
    sentences = [(event, sentence(event, rollout)) for event in control.ledger.events.select(rollout.id)]
    lines = [(event.at, words) for event, words in sentences if words is not None]
    if len(lines) > _EVENTS:
        yield f"  … {len(lines) - _EVENTS} earlier lines"
    for at, words in lines[-_EVENTS:]:
        yield from wrapped(words, f"  {at:%H:%M:%S}  ")


def _latest(rollouts: list[Rollout]) -> Iterator[str]:
    if rollouts:
        yield "Latest rollouts"
    for rollout in rollouts:
        at = rollout.ended_at or rollout.phase_at
        yield from wrapped(end(rollout), f"  {at:%Y-%m-%d %H:%M}  ")


def _isolations(control: Control, isolated: Sequence[Isolation]) -> Iterator[str]:
    if isolated:
        yield "\nIsolated revisions"
    for revision in isolated:
        row = _isolated_row(control, revision)
        yield from wrapped(
            f"{row['revision']} (model {row['model']}) is kept from: {row['levels']}; since {row['since']}: "
            f"{row['reason']}. 'bulkhead unisolate {row['revision']}' takes that back.",
            "  ",
        )


def traffic(control: Control, service: str) -> dict[str, int]:
    """Percent of a service's traffic by revision, as its router has it.

    Raises:
        InvalidInputError: the service is not configured.
        UnavailableError: its router does not answer.
    """
    return dict(control.backends(service).router.read(service)[1].weights)


def _service_row(control: Control, service: Service) -> dict[str, Any]:
    try:
        weights: Any = traffic(control, service.name)
    except BulkheadError as error:  # its router is away, or is not configured: the others are shown
        weights = str(error)
    failing = "; ".join(f"{work}: {why}" for work, why in control.ledger.events.failing(service.name).items())
    return {
        "service": service.name,
        "stable": service.stable_revision,
        "traffic": weights,
        "generation": service.generation,
        "failing": failing or None,
    }


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
        "told": end(rollout) if rollout.phase.ended else None,
    }


def _weight(rollout: Rollout) -> int | None:
    """Percent of the step; None where the plan cannot be read."""
    plan = readable_plan(rollout.plan)
    return plan.steps[rollout.step].weight if plan is not None and rollout.step < len(plan.steps) else None


def _isolated_row(control: Control, isolation: Isolation) -> dict[str, Any]:
    levels = control.ledger.isolations.levels(isolation.revision_id)
    return {
        "revision": isolation.revision_id,
        "model": control.ledger.revisions.get(isolation.revision_id).model_uri,
        "levels": ", ".join(f"{level.level}{'' if level.applied_at else ' (coming)'}" for level in levels),
        "since": isolation.created_at.isoformat(timespec="seconds"),
        "reason": isolation.reason,
    }
