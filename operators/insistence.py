"""Insisting: what Airflow calls once, and never again, must not be lost to a ledger that is busy at that moment.

A hook of the listener, a deadline's callback, a notifier and ``on_kill`` each have one chance to say that a release is
to be taken back, or a pod to end. SQLite gives a writer up after seconds on a machine that is overloaded, PostgreSQL
restarts: each is over soon, so they try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy.exc import OperationalError
from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from bulkhead.errors import UnavailableError

Result = TypeVar("Result")

_PATIENCE = timedelta(minutes=10)
_LONGEST_WAIT_S = 30.0


def insist(act: Callable[[], Result], patience: timedelta = _PATIENCE) -> Result:
    """Do something with the ledger; again, while the ledger or Airflow's database does not answer.

    Args:
        act: is idempotent.
        patience: how long after the first try another one begins at most.

    Returns:
        What it returned.

    Raises:
        UnavailableError, OperationalError: the database did not answer for so long.
    """
    return Retrying(**_rules(patience))(act)


async def ainsist(act: Callable[[], Result], patience: timedelta = _PATIENCE) -> Result:
    """As ``insist``, in an event loop: each try has a thread, the waits between them have none."""

    async def again() -> Result:
        return await asyncio.to_thread(act)

    return await AsyncRetrying(**_rules(patience))(again)


def _rules(patience: timedelta) -> dict[str, Any]:
    return {
        "retry": retry_if_exception_type((UnavailableError, OperationalError)),
        "stop": stop_after_delay(patience),
        "wait": wait_random_exponential(max=_LONGEST_WAIT_S),
        "reraise": True,
    }
