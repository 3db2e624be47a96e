"""Waiting for rollouts: one poll at the ledger a second serves every deferred task of a triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass
from typing import Any

from airflow.triggers.base import TriggerEvent

from bulkhead.control import Control
from bulkhead.errors import UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.insistence import ainsist
from bulkhead.operators.rollout_log import log_events
from bulkhead.operators.triggers.polling import PollingTrigger, poll

_POLL_S = 1.0


@dataclass(frozen=True)
class LedgerView:
    """What the ledger says at one moment.

    Attributes:
        rollouts: in progress, by id.
        serving: revisions that have traffic, or are about to.
        latest: id of the latest event of each rollout in progress.
        ledger: to read more of what has changed.
    """

    rollouts: dict[int, Rollout]
    serving: frozenset[str]
    latest: dict[int, int]
    ledger: Ledger


class LedgerTrigger(PollingTrigger):
    """Base of triggers that wait for what the ledger says.

    Args:
        bulkhead_conn_id: where the ledger is.
    """

    def __init__(self, bulkhead_conn_id: str) -> None:
        super().__init__()
        self.bulkhead_conn_id = bulkhead_conn_id

    def arguments(self) -> dict[str, Any]:
        """What the trigger is made from, as JSON."""
        raise NotImplementedError

    def event(self, view: LedgerView) -> dict[str, Any] | None:
        """What to fire with, or None to poll again."""
        raise NotImplementedError

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return (f"{type(self).__module__}.{type(self).__qualname__}", self.arguments())

    def shared_stream_key(self) -> Hashable:
        """One poll a ledger."""
        return ("bulkhead-ledger", self.bulkhead_conn_id)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[LedgerView]:
        """Look at the ledger again and again.

        Args:
            kwargs: of any trigger of the group; they share ``bulkhead_conn_id``.

        Yields:
            What it says.
        """
        async for view in poll(kwargs["bulkhead_conn_id"], _read_ledger, _POLL_S):
            yield view

    async def log_events(self, view: LedgerView) -> None:
        """Log what has happened since the poll before; by default nothing."""

    async def filter_shared_stream(self, shared_stream: AsyncIterator[LedgerView]) -> AsyncIterator[TriggerEvent]:
        """Fire once."""
        async for view in shared_stream:
            await self.log_events(view)
            if (event := self.event(view)) is not None:
                yield TriggerEvent(event)
                return


def asks_again(rollout: Rollout, approval_after: int | None) -> bool:
    """Whether a rollout waits for a person.

    Args:
        rollout: as it is now.
        approval_after: only at a step after this one; None: at any step.
    """
    return rollout.phase is Phase.APPROVING and approval_after is not None and rollout.step > approval_after


class RolloutTrigger(LedgerTrigger):
    """Fires when a rollout has ended, or waits for a person.

    Args:
        rollout_id: in the ledger.
        bulkhead_conn_id: where the ledger is.
        approval_after: fire as well once it waits for a person at a step after this one; None: only at its end.
        after_event: id of the rollout's last event that its task has logged; those after it are logged as they happen.
    """

    def __init__(
        self, rollout_id: int, bulkhead_conn_id: str, approval_after: int | None = None, after_event: int = 0
    ) -> None:
        super().__init__(bulkhead_conn_id)
        self.rollout_id, self.approval_after, self.after_event = rollout_id, approval_after, after_event
        self._logged = after_event

    def arguments(self) -> dict[str, Any]:
        """What the trigger is made from, as JSON."""
        return {
            "rollout_id": self.rollout_id,
            "bulkhead_conn_id": self.bulkhead_conn_id,
            "approval_after": self.approval_after,
            "after_event": self.after_event,
        }

    async def log_events(self, view: LedgerView) -> None:
        """Log the rollout's events since the poll before, in the log of its task."""
        if view.latest.get(self.rollout_id, self._logged + 1) <= self._logged:
            return
        try:
            self._logged = await asyncio.to_thread(
                log_events, self.log.info, view.ledger, self.rollout_id, self._logged
            )
        except UnavailableError as error:  # the next poll, or the task itself, logs them
            self.log.warning("%s", error)

    def event(self, view: LedgerView) -> dict[str, Any] | None:
        """Once it is no longer in progress, or waits: the rollout's id, and that of its last event in the log."""
        rollout = view.rollouts.get(self.rollout_id)
        is_over = rollout is None or asks_again(rollout, self.approval_after)
        return {"rollout_id": self.rollout_id, "after_event": self._logged} if is_over else None


class ReleaseTrigger(RolloutTrigger):
    """As ``RolloutTrigger``, for a task without which its rollout is not wanted."""

    async def on_kill(self) -> None:
        """The task was marked or cleared by a person: take its rollout back."""
        control = await BulkheadHook(self.bulkhead_conn_id).acontrol()
        why = "its deploy task was marked or cleared in Airflow"
        request = Request(f"task-killed/{self.rollout_id}", why, "airflow: on_kill")
        await ainsist(lambda: control.commands.abort(self.rollout_id, request))


class NoTrafficTrigger(LedgerTrigger):
    """Fires when a revision has no traffic any more.

    Args:
        revision: its id.
        bulkhead_conn_id: where the ledger is.
    """

    def __init__(self, revision: str, bulkhead_conn_id: str) -> None:
        super().__init__(bulkhead_conn_id)
        self.revision = revision

    def arguments(self) -> dict[str, Any]:
        """What the trigger is made from, as JSON."""
        return {"revision": self.revision, "bulkhead_conn_id": self.bulkhead_conn_id}

    def event(self, view: LedgerView) -> dict[str, Any] | None:
        """The revision's id, once it has none."""
        return None if self.revision in view.serving else {"revision": self.revision}


def _read_ledger(control: Control) -> LedgerView:
    ledger = control.ledger
    rollouts = {rollout.id: rollout for rollout in ledger.rollouts.active()}
    return LedgerView(rollouts, ledger.revisions.serving(), ledger.events.latest_ids(rollouts), ledger)
