"""Commands about the evaluate gate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from bulkhead import settings
from bulkhead.cli.console import app, console, errors_reported, who
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.gate_overrides import override as make_override

gate = typer.Typer(no_args_is_help=True, help="Let a model pass the evaluate gate.")
app.add_typer(gate, name="gate")

_DEFAULT = timedelta(days=1)


@gate.callback()
def _group() -> None:
    """Let a model pass the evaluate gate."""


@gate.command("override")
def override(
    model: Annotated[str, typer.Argument(help="models:/m-… as the evidence names it, or a registered model's name")],
    reason: Annotated[str, typer.Option(help="kept in the ledger, and shown in every later evidence")],
    version: Annotated[str | None, typer.Argument(help="of the registered model")] = None,
    until: Annotated[str | None, typer.Option(help="2026-12-01T18:00, in UTC unless it says otherwise; a day")] = None,
) -> None:
    """Let a model pass although the gate refuses it, for a time. Run its evaluate task again afterwards.

    Checks of the data, and isolations, are not overridden.
    """
    with errors_reported():
        now = datetime.now(UTC)
        decision = make_override(who(), reason, now, now + _DEFAULT if until is None else _time(until))
        control = Control(settings.load())
        control.load_credentials()
        uris = control.commands.override_gate(model, version, decision)
        console.print(f"recorded: {', '.join(uris)}: {decision.sentence()}")


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError("until", text, "give a time such as 2026-12-01T18:00") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
