"""The command that shows the Control Room without Airflow."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from bulkhead import settings
from bulkhead.cli.console import app, console, errors_reported
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.users import user_name

_NEEDS = ("fastapi", "uvicorn")


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="of 127.0.0.1 to listen at; 0: a free one")] = 0,
    name: Annotated[str | None, typer.Option(help="in whose name it acts; default: who runs it")] = None,
) -> None:
    """Serve the Control Room without Airflow: on this machine, to whoever has the address that is printed."""
    with errors_reported():
        missing = [package for package in _NEEDS if importlib.util.find_spec(package) is None]
        if missing:
            raise InvalidInputError("bulkhead ui", ", ".join(missing), "missing here; run pip install 'bulkhead[ui]'")
        from bulkhead.web import standalone

        control = Control(settings.load())
        try:
            standalone.serve(lambda: control.commands, name or user_name(), port, _announce)
        except OSError as error:
            raise UnavailableError(f"port {port} of 127.0.0.1 cannot be had: {error}; give another --port") from error


def _announce(address: str) -> None:
    console.print(f"Open {address}\nWhoever has this address can act in your name. Ctrl+C ends it.", soft_wrap=True)
