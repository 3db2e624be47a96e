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
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    TaskDeferralTimeout,
)

from bulkhead.errors import BulkheadError

if TYPE_CHECKING:
    from airflow.sdk import Context


NO_TRIGGERER = "Is a triggerer running? `airflow jobs check --job-type TriggererJob` tells."
"""The remedy, where nothing but an Airflow that stands still explains it."""


class LoggedInOneLine(Exception):
    """Base of exceptions whose text says all."""


class PlainError(LoggedInOneLine, AirflowException):
    """The task has failed; Airflow tries again where it has retries."""


class PlainFailure(LoggedInOneLine, AirflowFailException):
    """The task has failed for good: another try would end in the same way."""


class PlainTimeout(LoggedInOneLine, TaskDeferralTimeout):
    """What a task waited for did not come in time; Airflow tries again where it has retries."""


class PlainSensorTimeout(LoggedInOneLine, AirflowSensorTimeout):
    """What a sensor waited for did not come in time; as Airflow has it, it is not tried again."""


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
        """Airflow calls this in the task's own process, before it is run and before it goes on."""
        end_plainly()
        super().pre_execute(context)  # type: ignore[misc]

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Airflow calls this where a task that was deferred goes on.

        Returns:
            What that method returns.

        Raises:
            PlainTimeout: its time was over; a sensor raises ``PlainSensorTimeout``. A sensor with ``soft_fail`` skips.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc]
        except AirflowSensorTimeout as error:
            raise PlainSensorTimeout(self.gave_up()) from error
        except TaskDeferralTimeout as error:
            raise PlainTimeout(self.gave_up()) from error

    def gave_up(self) -> str:
        """What a person reads where what the task waited for did not come in time."""
        return f"Gave up: what it waited for did not come in time. {NO_TRIGGERER}"


def end_plainly() -> None:
    """Have this process's log tell exceptions whose text says all by their text."""
    # The task's logger holds this very list, so that what is put into it counts for a logger that exists already.
    processors = structlog.get_config()["processors"]
    if isinstance(processors, list) and in_one_line not in processors:
        processors.insert(0, in_one_line)


def in_one_line(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: an entry about an exception whose text says all becomes that text.

    Returns:
        The entry.
    """
    error = sys.exc_info()[1] if entry.get("exc_info") else None
    if isinstance(error, (LoggedInOneLine, BulkheadError)) and not logging.getLogger().isEnabledFor(logging.DEBUG):
        del entry["exc_info"]
        entry["event"] = " ".join(str(error).split())
    return entry
