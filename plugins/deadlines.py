"""Deadlines: callbacks that roll a late release back or isolate it, and a reference that gives each run its own time.

A callback of Airflow is lossy (it is never retried, and it runs in the triggerer, which may be gone). So this
one only records an intent and nudges; what contains the failure is the reconciler.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference

from bulkhead import arguments
from bulkhead.ledger.requests import Request
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.insistence import ainsist
from bulkhead.pods.identity import run_owner

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from bulkhead.commands import Commands


log = logging.getLogger(__name__)

_LONGEST_S = 10 * 365 * 86400


def rollback_on_deadline(
    service: str | None = None,
    reason: str = "the run missed its deadline",
    bulkhead_conn_id: str = BulkheadHook.default_conn_name,
) -> AsyncCallback:
    """For ``DeadlineAlert(callback=...)``: a run that is late has its release rolled back.

    Whatever the run has in progress returns, and what it has yet to ask for is refused.

    Args:
        service: where the run's revision has become the stable one here already, return to the one before it.
        reason: for people; the deadline's time is added.
        bulkhead_conn_id: where the ledger is.

    Raises:
        InvalidInputError: an argument is wrong.
    """
    if service is not None:
        arguments.service("service", service)
    return AsyncCallback(roll_back_late, _checked(service, reason, bulkhead_conn_id))


def isolate_on_deadline(
    service: str,
    reason: str = "the run missed its deadline",
    bulkhead_conn_id: str = BulkheadHook.default_conn_name,
) -> AsyncCallback:
    """For ``DeadlineAlert(callback=...)``: a run that is late has its revision isolated.

    Args:
        service: where the run releases.
        reason: for people; the deadline's time is added.
        bulkhead_conn_id: where the ledger is.

    Raises:
        InvalidInputError: an argument is wrong.
    """
    arguments.service("service", service)
    return AsyncCallback(isolate_late, _checked(service, reason, bulkhead_conn_id))


def _checked(service: str | None, reason: str, bulkhead_conn_id: str) -> dict[str, Any]:
    arguments.text("reason", reason)
    arguments.text("bulkhead_conn_id", bulkhead_conn_id)
    return {"service": service, "reason": reason, "bulkhead_conn_id": bulkhead_conn_id}


async def roll_back_late(
    service: str | None, reason: str, bulkhead_conn_id: str, context: dict[str, Any] | None = None
) -> None:
    """What ``rollback_on_deadline`` has the triggerer call; idempotent, since it may be called again.

    It returns None always: any other value would end the triggerer.

    Args:
        service: see there.
        reason: see there.
        bulkhead_conn_id: see there.
        context: Airflow's: ``dag_run`` and ``deadline``.

    Raises:
        ValueError: Airflow gave no context, so that the run is unknown.
        NotFoundError, ConflictError: see ``Commands.roll_back_owner``.
    """
    await _contain(lambda commands: commands.roll_back_owner, service, reason, bulkhead_conn_id, context)


async def isolate_late(service: str, reason: str, bulkhead_conn_id: str, context: dict[str, Any] | None = None) -> None:
    """What ``isolate_on_deadline`` has the triggerer call; see ``roll_back_late``.

    Args:
        service: see there.
        reason: see there.
        bulkhead_conn_id: see there.
        context: Airflow's: ``dag_run`` and ``deadline``.

    Raises:
        ValueError: Airflow gave no context, so that the run is unknown.
    """
    await _contain(lambda commands: commands.isolate_released, service, reason, bulkhead_conn_id, context)


async def _contain(
    act: Callable[[Commands], Callable[..., object]],
    service: str | None,
    reason: str,
    bulkhead_conn_id: str,
    context: dict[str, Any] | None,
) -> None:
    """Record what is wanted of a late run's release; nothing if the run succeeded after all."""
    if context is None:
        raise ValueError("context = None: Airflow passes it to callbacks that accept it; call it through a deadline")
    run, deadline = context["dag_run"], context["deadline"]
    if run["state"] == "success":
        return
    why = f"{reason} of {_shown(deadline.get('deadline_time'))}"
    request = Request(f"deadline/{deadline['id']}", why, "airflow: deadline")
    control = await BulkheadHook(bulkhead_conn_id).acontrol()
    owner = run_owner(run["dag_id"], run["dag_run_id"])
    await ainsist(lambda: act(control.commands)(owner, service, request))


def _shown(at: object) -> str:
    """A time for people. One that cannot be read is shown as it came: what is wanted is recorded all the same."""
    try:
        return f"{datetime.fromisoformat(str(at)).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return repr(at)


@dataclass
class RunParamDeadline(BaseDeadlineReference):
    """A deadline that each run sets for itself: so many seconds, from one of its params, after it was queued.

    ``DeadlineAlert(reference=RunParamDeadline("deadline_s", 600), interval=timedelta(0), ...)``

    Attributes:
        param: the DAG param that holds the seconds.
        default_s: seconds for a run that does not set it; above 0.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    param: str = "deadline_s"
    default_s: float = 3600.0

    def __post_init__(self) -> None:
        arguments.text("param", self.param)
        arguments.number("default_s", self.default_s, _is_time, "give a number of seconds above 0")

    required_kwargs = {"dag_id", "run_id"}  # noqa: RUF012 - read by Airflow from the class

    def serialize_reference(self) -> dict[str, Any]:
        """As Airflow stores it."""
        return {"reference_type": self.reference_name, "param": self.param, "default_s": self.default_s}

    @classmethod
    def deserialize_reference(cls, reference_data: dict[str, Any]) -> RunParamDeadline:
        """From what ``serialize_reference`` wrote."""
        return cls(reference_data["param"], reference_data["default_s"])

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str, **_: Any) -> datetime | None:
        """When the run has to be done. Called by Airflow's scheduler or api-server when the run is made."""
        from airflow.models import DagRun
        from sqlalchemy import select

        query = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        run = session.scalar(query)
        if run is None:
            return None
        begin: datetime = run.queued_at or run.run_after
        return begin + timedelta(seconds=self._seconds((run.conf or {}).get(self.param, self.default_s)))

    def _seconds(self, set_by_run: Any) -> float:
        """What a run has set. One that cannot be a time must not keep the scheduler from making the run."""
        try:
            seconds = float(set_by_run)
        except (TypeError, ValueError, OverflowError):
            seconds = math.nan
        if _is_time(seconds):
            return seconds
        log.warning("%s = %r is no number of seconds above 0: %s s count", self.param, set_by_run, self.default_s)
        return self.default_s


def _is_time(seconds: float) -> bool:
    return 0 < seconds < _LONGEST_S
