"""The listener: a run that failed, however it failed, has its rollout taken back.

Airflow calls ``on_dag_run_failed`` in the scheduler, in every case that was tried: also where a callback of
the task is lost (SIGKILL, mark failed, timeout of the run). It must not block there, so the ledger is written
by a thread.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

from bulkhead import settings
from bulkhead.control import Control
from bulkhead.errors import BulkheadError

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """Take back what a failed run has in progress.

    Args:
        dag_run: the run.
        msg: Airflow's words.
    """
    arguments = (dag_run.dag_id, dag_run.run_id, str(dag_run.end_date))
    threading.Thread(target=record, args=arguments, name="bulkhead-listener", daemon=True).start()


def record(dag_id: str, run_id: str, ended: str) -> None:
    """Record the intent. Only for runs that released something: the ledger knows them by their owner.

    Args:
        dag_id: of the run.
        run_id: of the run.
        ended: when; part of the idempotency key, since a cleared run may fail again.
    """
    owner = f"airflow:{dag_id}/{run_id}"
    try:
        control = Control(settings.load())
        active = [rollout for rollout in control.ledger.active_rollouts() if rollout.owner == owner]
        for rollout in active:
            control.ledger.request_rollback(
                key=f"run-failed/{rollout.id}/{ended}",
                reason="its DAG run failed",
                requested_by="airflow: listener",
                rollout_id=rollout.id,
            )
            control.nudge()
    except BulkheadError as error:
        # The scheduler must go on; what was not recorded shows in its log and in 'bulkhead status'.
        log.error("run %s failed and its rollout could not be taken back: %s; run 'bulkhead rollback'", owner, error)
