"""How a task ends that fails: in one line of its log, which says all that a person needs.

Airflow logs every exception that ends a task with its traceback. Where the exception itself is the whole story (a
release was rolled back, a plan was refused, a pod ran out of memory), twenty lines of frames hide the one that counts.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import structlog
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from bulkhead.errors import BulkheadError

if TYPE_CHECKING:
    from airflow.sdk import Context


class LoggedInOneLine(Exception):
    """Base of exceptions whose text says all."""


class PlainError(LoggedInOneLine, AirflowException):
    """The task has failed; Airflow tries again where it has retries."""


class PlainFailure(LoggedInOneLine, AirflowFailException):
    """The task has failed for good: another try would end in the same way."""


def refused(error: BulkheadError, serves: str = "") -> PlainFailure:
    """The end of a task whose wish was refused before anything was changed.

    Args:
        error: that names what was wrong, and the remedy.
        serves: a sentence that says what serves meanwhile; none where nothing does.
    """
    why = str(error).rstrip(". ")
    return PlainFailure(" ".join(filter(None, (f"Refused, and nothing was changed: {why}.", serves))))


class PlainEnds:
    """Mixin, in front of ``BaseOperator``: errors of this project end the task in one line of its log.

    With Airflow's ``[logging] logging_level = DEBUG`` the traceback is there as well.
    """

    def pre_execute(self, context: Context) -> None:
        """Airflow calls this in the task's own process, before it is run and before it goes on.

        Args:
            context: of the task.
        """
        end_plainly()
        super().pre_execute(context)  # type: ignore[misc]


def end_plainly() -> None:
    """Have this process's log tell exceptions whose text says all by their text."""
    # The task's logger holds this very list, so that what is put into it counts for a logger that exists already.
    processors = structlog.get_config()["processors"]
    if isinstance(processors, list) and in_one_line not in processors:
        processors.insert(0, in_one_line)


def in_one_line(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: an entry about an exception whose text says all becomes that text.

    Args:
        entry: what is logged.

    Returns:
        The entry.
    """
    error = sys.exc_info()[1] if entry.get("exc_info") else None
    if isinstance(error, (LoggedInOneLine, BulkheadError)) and not logging.getLogger().isEnabledFor(logging.DEBUG):
        del entry["exc_info"]
        entry["event"] = " ".join(str(error).split())
    return entry
