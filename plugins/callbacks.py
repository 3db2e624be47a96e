"""Callbacks for tasks and DAGs: what fails after a release takes the release back, or isolates it.

``SmokeTest(task_id="smoke", on_failure_callback=RollBackNotifier("digits"))``

Airflow loses a task's callbacks when its process is killed, and never calls them where a person marks the task; a DAG's
are called by the dag-processor. So these are one way among several: the listener sees every end of a run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.notifier import BaseNotifier

from bulkhead import arguments
from bulkhead.ledger.requests import Request
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.insistence import insist
from bulkhead.operators.templates import check_known
from bulkhead.pods.identity import run_owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from bulkhead.commands import Commands

_PATIENCE = timedelta(seconds=30)
"""How long a ledger that is busy is tried again: the dag-processor gives a DAG's callbacks 50 s."""


class _ReleaseNotifier(BaseNotifier):
    template_fields: Sequence[str] = ("service", "reason")

    def __init__(
        self,
        service: str,
        reason: str = "a task of the run failed",
        bulkhead_conn_id: str = BulkheadHook.default_conn_name,
    ) -> None:
        super().__init__()
        check_known(arguments.service, "service", service)
        check_known(arguments.text, "reason", reason)
        arguments.text("bulkhead_conn_id", bulkhead_conn_id)
        self.service, self.reason, self.bulkhead_conn_id = service, reason, bulkhead_conn_id

    def _commands(self) -> Commands:
        return BulkheadHook(self.bulkhead_conn_id).control().commands


class RollBackNotifier(_ReleaseNotifier):
    """Takes back what the run has released: what is in progress, and where it is promoted, to the revision before it.

    Args:
        service: where the run releases; templated.
        reason: for people; templated.
        bulkhead_conn_id: where the ledger is.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    def notify(self, context: Context) -> None:
        """Record the intent.

        Args:
            context: of the task or the DAG run that failed.

        Raises:
            NotFoundError, ConflictError: see ``Commands.roll_back_owner``.
        """
        owner, request = _request(context, self.reason)
        insist(lambda: self._commands().roll_back_owner(owner, self.service, request), _PATIENCE)


class IsolateNotifier(_ReleaseNotifier):
    """Isolates the revision that the run has released.

    Args:
        service: where the run releases; templated.
        reason: for people; templated.
        bulkhead_conn_id: where the ledger is.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    def notify(self, context: Context) -> None:
        """Record the intent.

        Args:
            context: of the task or the DAG run that failed.
        """
        owner, request = _request(context, self.reason)
        insist(lambda: self._commands().isolate_released(owner, self.service, request), _PATIENCE)


def _request(context: Mapping[str, Any], reason: str) -> tuple[str, Request]:
    """On whose behalf, and the request with a key of this failure: once for each time that it was cleared."""
    run, ti = context["dag_run"], context.get("ti")
    owner = run_owner(run.dag_id, run.run_id)
    where = f"{ti.task_id}/{ti.map_index}#{ti.max_tries}" if ti is not None else f"#{getattr(run, 'clear_number', 0)}"
    why = f"{reason} ({ti.task_id})" if ti is not None else reason
    return owner, Request(f"callback/{owner}/{where}", why, "airflow: callback")
