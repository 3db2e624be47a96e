"""Looking again and again: one loop serves every trigger of a shared stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import structlog
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from bulkhead.control import Control
from bulkhead.errors import UnavailableError
from bulkhead.operators.hooks import BulkheadHook

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def poll(
    bulkhead_conn_id: str, read: Callable[[Control], T], period_s: float | Callable[[Control], float]
) -> AsyncIterator[T]:
    """Read something of the control plane again and again; where it does not answer, the next poll may find it.

    Args:
        bulkhead_conn_id: where the control plane is.
        read: blocks; runs in a thread.
        period_s: seconds between two polls, or who knows them.

    Yields:
        What was read.
    """
    control = await BulkheadHook(bulkhead_conn_id).acontrol()
    seconds = period_s(control) if callable(period_s) else period_s
    while True:
        try:
            value = await asyncio.to_thread(read, control)
        except UnavailableError as error:
            await log.awarning("no answer, polling again", error=str(error))
        else:
            yield value
        await asyncio.sleep(seconds)  # the period of the one shared poll


class PollingTrigger(BaseEventTrigger):
    """Base of triggers that share polls; a subclass says which ones, and when to fire."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """As ``filter_shared_stream``, with polls of its own."""
        async for event in self.filter_shared_stream(self.open_shared_stream(self.serialize()[1])):
            yield event
