"""Watching what a revision serves: one reading of the router a second serves every guard of a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from airflow.triggers.base import TriggerEvent

from bulkhead.control import Control
from bulkhead.errors import BulkheadError
from bulkhead.ledger.requests import Request
from bulkhead.metrics.counters import Counters
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.triggers.polling import PollingTrigger, poll
from bulkhead.rollout.analysis.burn import Burn, BurnReading, burning, keep, scaled

log = structlog.get_logger(__name__)

_POLL_S = 1.0


@dataclass(frozen=True)
class Served:
    """What a service serves at one moment.

    Attributes:
        at: when.
        counters: by revision.
        serving: revisions that have traffic, or are about to.
    """

    at: datetime
    counters: dict[str, Counters]
    serving: frozenset[str]


class ServingTrigger(PollingTrigger):
    """Fires when a revision breaks its objective, has no traffic any more, or has kept the objective long enough.

    Where it breaks it, the intent is recorded here, in the triggerer, before anything else: no worker is needed.

    Args:
        service: by name.
        revision: its id.
        objective: share of requests that has to succeed, below 1.
        until: when the guard ends, ISO 8601 with a zone.
        length_s: of the guard, in seconds; its windows follow from it.
        min_failures: fewest failures in a window that mean anything.
        on_breach: ``roll-back``, ``isolate`` or ``fail``.
        key: idempotency key of the intent.
        requested_by: for the record.
        bulkhead_conn_id: where the ledger and the router are.
    """

    def __init__(
        self,
        service: str,
        revision: str,
        objective: float,
        until: str,
        length_s: float,
        min_failures: int,
        on_breach: str,
        key: str,
        requested_by: str,
        bulkhead_conn_id: str,
    ) -> None:
        super().__init__()
        self.service, self.revision, self.objective = service, revision, objective
        self.until, self.length_s, self.min_failures = until, length_s, min_failures
        self.on_breach, self.key, self.requested_by = on_breach, key, requested_by
        self.bulkhead_conn_id = bulkhead_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = (
            "service",
            "revision",
            "objective",
            "until",
            "length_s",
            "min_failures",
            "on_breach",
            "key",
            "requested_by",
            "bulkhead_conn_id",
        )
        return (f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names})

    def shared_stream_key(self) -> Hashable:
        """One reading a service."""
        return ("bulkhead-serving", self.bulkhead_conn_id, self.service)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Served]:
        """Read the router again and again.

        Args:
            kwargs: of any trigger of the group; they share ``service`` and ``bulkhead_conn_id``.

        Yields:
            What the service serves.
        """
        async for served in poll(kwargs["bulkhead_conn_id"], partial(_read, service=kwargs["service"]), _POLL_S):
            yield served

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Served]) -> AsyncIterator[TriggerEvent]:
        """Judge every reading, and fire once."""
        until, readings = datetime.fromisoformat(self.until), list[BurnReading]()
        async for served in shared_stream:
            readings = keep(
                readings, BurnReading(served.at, served.counters.get(self.revision, Counters())), self.length_s
            )
            burn = burning(readings, self.objective, scaled(self.length_s), self.min_failures)
            if burn is not None:
                yield TriggerEvent({"result": "breached", "reason": await self._contain(burn)})
                return
            if self.revision not in served.serving:
                yield await self._over("left", f"revision {self.revision} has no traffic any more")
                return
            if served.at >= until:
                yield await self._over("kept", f"{self.objective:.3%} kept until {self.until}")
                return

    async def _over(self, result: str, reason: str) -> TriggerEvent:
        """The end of a guard that sees nothing wrong: unless it has acted before its triggerer, or its try, ended."""
        control = await BulkheadHook(self.bulkhead_conn_id).acontrol()
        acted = await asyncio.to_thread(control.commands.acted, self._request(""))
        if acted is None:
            return TriggerEvent({"result": result, "reason": reason})
        return TriggerEvent({"result": "breached", "reason": acted.reason})

    async def _contain(self, burn: Burn) -> str:
        """Record what the guard asks for; returns the reason, with what stands in the way of it."""
        reason = f"guard: {burn.described(self.objective)}"
        if self.on_breach == "fail":
            return reason
        control = await BulkheadHook(self.bulkhead_conn_id).acontrol()
        request = self._request(reason)
        if self.on_breach == "isolate":
            act: Callable[[], object] = partial(control.commands.isolate, self.revision, request)
        else:
            act = partial(control.commands.roll_back_revision, self.service, self.revision, request)
        try:
            await asyncio.to_thread(act)
        except BulkheadError as error:
            await log.aerror("the guard's intent was refused", service=self.service, error=str(error))
            return f"{reason}; it cannot be contained: {error}"
        return reason

    def _request(self, reason: str) -> Request:
        return Request(self.key, reason, self.requested_by)


def _read(control: Control, service: str) -> Served:
    serving = control.ledger.revisions.serving(service)
    return Served(datetime.now(UTC), dict(control.backends(service).metrics.counters(service, serving)), serving)
