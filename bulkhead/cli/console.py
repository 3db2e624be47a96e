"""What all commands share: the application, its console, and how errors are told."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bulkhead.errors import BulkheadError
from bulkhead.text import storable
from bulkhead.users import user_name

WIDTH = 100
"""Columns that a text for people takes at most."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The command line. Works with Airflow stopped: it needs the ledger, the router and the runtime alone.",
    pretty_exceptions_enable=False,
)
# What is printed came from outside: "[/red]" in a reason is a reason, and no markup of ours.
console = Console(markup=False, emoji=False)
if not console.is_terminal:
    console = Console(width=120, markup=False, emoji=False)  # a file has no width; 80 columns would fold every table


@contextmanager
def errors_reported() -> Iterator[None]:
    """A person reads one sentence, not a traceback."""
    try:
        yield
    except BulkheadError as error:
        typer.echo(f"error: {storable(str(error))}", err=True)
        raise typer.Exit(2) from error


def wrapped(text: str, before: str) -> list[str]:
    """A text as one or more lines that fit the width, indented under the words in front of its first line."""
    one_line = " ".join(storable(text).split())
    return textwrap.wrap(one_line, WIDTH, initial_indent=before, subsequent_indent=" " * len(before))


def print_lines(lines: Iterable[str | Text]) -> None:
    """Print lines as they are, however narrow the terminal."""
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(title=title)
    for name in rows[0] if rows else ["nothing yet"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else storable(str(value)) for value in row.values()))
    console.print(table)


def who() -> str:
    """Who asks, for the record."""
    return f"cli: {user_name()}"


def on_termination(act: Callable[[], None]) -> None:
    """Have something done at SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: act())
