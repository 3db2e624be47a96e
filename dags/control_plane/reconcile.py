"""The reconciler on a schedule, for an installation without ``bulkhead reconcile --watch`` as a service."""

from __future__ import annotations

import threading
from datetime import timedelta

from airflow.sdk import dag, task

from bulkhead import BulkheadHook


@dag(
    dag_id="bulkhead_reconcile",
    schedule=timedelta(minutes=1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    doc_md=__doc__,
)
def bulkhead_reconcile() -> None:
    """Every minute, for most of a minute."""

    @task(execution_timeout=timedelta(minutes=5))
    def reconcile() -> None:
        control, stop = BulkheadHook().control(), threading.Event()
        timer = threading.Timer(55, stop.set)
        timer.start()
        control.reconcile_until(lambda: not control.ledger.rollouts.active(), stop)
        timer.cancel()

    reconcile()


bulkhead_reconcile()
