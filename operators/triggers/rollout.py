"""Waiting for a rollout: one look at the ledger a second serves every deferred task of a triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from typing import Any

import structlog
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from bulkhead.errors import UnavailableError
from operators.hooks import BulkheadHook

log = structlog.get_logger(__name__)

_LOOK_S = 1.0


class RolloutTrigger(BaseEventTrigger):
    """Fires when a rollout has ended.

    Args:
        rollout_id: in the ledger.
        bulkhead_conn_id: where the ledger is.
    """

    def __init__(self, rollout_id: int, bulkhead_conn_id: str) -> None:
        super().__init__()
        self.rollout_id, self.bulkhead_conn_id = rollout_id, bulkhead_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        arguments = {"rollout_id": self.rollout_id, "bulkhead_conn_id": self.bulkhead_conn_id}
        return (f"{type(self).__module__}.{type(self).__qualname__}", arguments)

    def shared_stream_key(self) -> Hashable:
        """One look a ledger."""
        return ("bulkhead-ledger", self.bulkhead_conn_id)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[set[int]]:
        """Look at the ledger again and again.

        Args:
            kwargs: of any trigger of the group; they share ``bulkhead_conn_id``.

        Yields:
            Ids of the rollouts in progress.
        """
        control = await BulkheadHook(kwargs["bulkhead_conn_id"]).acontrol()
        while True:
            try:
                active = await asyncio.to_thread(lambda: control.ledger.active_rollouts())
            except UnavailableError as error:
                await log.awarning("the ledger does not answer, looking again", error=str(error))
            else:
                yield {rollout.id for rollout in active}
            await asyncio.sleep(_LOOK_S)  # the period of the one shared look

    async def filter_shared_stream(self, shared_stream: AsyncIterator[set[int]]) -> AsyncIterator[TriggerEvent]:
        """Fire once the rollout is no longer in progress.

        Args:
            shared_stream: of ids in progress.
        """
        async for active in shared_stream:
            if self.rollout_id not in active:
                yield TriggerEvent({"rollout_id": self.rollout_id})
                return

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """As ``filter_shared_stream``, with looks of its own."""
        async for event in self.filter_shared_stream(self.open_shared_stream(self.serialize()[1])):
            yield event

    async def on_kill(self) -> None:
        """The task was marked or cleared by a person: take its rollout back."""
        control = await BulkheadHook(self.bulkhead_conn_id).acontrol()

        def take_back() -> None:
            control.ledger.request_rollback(
                key=f"task-killed/{self.rollout_id}",
                reason="its deploy task was marked or cleared in Airflow",
                requested_by="airflow: on_kill",
                rollout_id=self.rollout_id,
            )
            control.nudge()

        await asyncio.to_thread(take_back)
