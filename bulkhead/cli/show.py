"""The command that shows one release: its way, what it was judged by, and what can be done now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from bulkhead import settings
from bulkhead.cli.console import app, errors_reported, print_lines, wrapped
from bulkhead.control import Control
from bulkhead.errors import NotFoundError
from bulkhead.web.documents import ReleaseDocument
from bulkhead.web.reader import LedgerReader, reader

_LABEL = 12


@app.command()
def show(
    release: Annotated[str, typer.Argument(help="a service: its release in progress, else its latest; or a number")],
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show one release: model, way, evidence, what happened when, and what can be done now. Reads the ledger alone."""
    with errors_reported():
        reading = reader(Control(settings.load()).commands)
        document = reading.release(int(release) if release.isdecimal() else _latest(reading, release))
    if as_json:
        print(document.model_dump_json())
        return
    print_lines(_lines(document))


def _latest(reading: LedgerReader, name: str) -> int:
    service = reading.service(name)
    release = service.release or service.last
    if release is None:
        raise NotFoundError(f"service {name!r} has had no release yet")
    return release.id


def _lines(release: ReleaseDocument) -> Iterator[str]:
    state = release.phase if release.ended_at else f"{release.phase}, step {release.step} of {release.steps}"
    yield f"Release {release.id} of service {release.service}: {state} (times are UTC)"
    candidate = release.candidate
    version = f" version {candidate.model_version}" if candidate.model_version else ""
    yield from _field("revision", f"{release.revision}{', which serves now' if release.serves else ''}")
    yield from _field("model", f"{candidate.model_name}{version}, {candidate.model_uri}")
    yield from _field("image", candidate.image)
    if release.replaces is not None:
        yield from _field("replaces", f"{release.replaces.id}, model version {release.replaces.model_version}")
    for name, places in (("nodes", release.nodes), ("devices", release.devices)):
        if places:
            yield from _field(name, ", ".join(places))
    for name, page in (("run", release.run_url), ("version", release.model_url)):
        if page:
            yield from _field(name, page)
    if release.dag_id is not None:
        yield from _field("DAG run", f"{release.dag_id}, {release.run_id}")
    yield from _field("plan", ", ".join(step.words for step in release.plan))
    for name, value in release.evidence.items():
        yield from _field("evidence", f"{name}: {_short(value)}")
    for isolation in release.isolated:
        since = f"since {isolation.created_at:%Y-%m-%d %H:%M:%S} by {isolation.requested_by}"
        yield from _field("isolated", f"{isolation.level} {since}: {isolation.reason}")
    yield ""
    for event in release.events:
        if event.words is not None:
            yield from wrapped(event.words, f"  {event.at:%H:%M:%S}  ")
    yield ""
    if release.words is not None:
        yield from wrapped(release.words, "")
    yield from (f"  {action.command}" for action in release.actions)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_short(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _field(name: str, text: str) -> list[str]:
    return wrapped(text, f"  {name:{_LABEL}}")
