"""The log of a service: lines for a person, or JSON for a log store, each with what it is about.

Code that works on something says so once, by ``about``; every line that is logged meanwhile, by whichever module, has
``service``, ``revision``, ``rollout`` and ``dag_run`` of it. In a process of Airflow's, its own log shows them as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars

from bulkhead.text import document, storable

Format = Literal["text", "json"]

FIELDS = ("service", "revision", "rollout", "dag_run")
"""What a line may be about."""


def about(
    *, service: str | None = None, revision: str | None = None, rollout: int | None = None, dag_run: str | None = None
) -> AbstractContextManager[Any]:
    """Say what the lines are about that are logged inside, in this thread or task.

    Args:
        service: by name; None, here and below: as before.
        dag_run: on whose behalf it was asked for: ``airflow:DAG/RUN``, or the user who asked.

    Returns:
        A context; may be nested.
    """
    fields = {"service": service, "revision": revision, "rollout": rollout, "dag_run": dag_run}
    return bound_contextvars(**{name: value for name, value in fields.items() if value is not None})


def log_to_console(form: Format = "text") -> None:
    """Have a service's log on its standard error, for whatever keeps it running.

    Args:
        form: ``text``, or ``json``: an object a line, with ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``,
            ``event``, what the line is about, and ``exception``, a traceback, where there is one.
    """
    logging.basicConfig(level=logging.INFO)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _as_json if form == "json" else _as_text,
        ],
    )
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)


def _as_json(_: Any, __: str, entry: MutableMapping[str, Any]) -> str:
    """Whatever an error has quoted, it is one line that any log store takes."""
    first = ("timestamp", "level", "logger", "event", *FIELDS)
    ordered = {name: entry[name] for name in first if name in entry}
    return json.dumps(document({**ordered, **entry}, None), default=str)


def _as_text(_: Any, __: str, entry: MutableMapping[str, Any]) -> str:
    """Lines that any terminal and any file takes, tracebacks included."""
    matter = "".join(f" {name}={entry[name]}" for name in FIELDS if name in entry)
    line = f"{entry['timestamp']} {entry['level'].upper()} {entry['logger']} {entry['event']}{matter}"
    return storable("\n".join([line, *([entry["exception"]] if entry.get("exception") else [])]))
