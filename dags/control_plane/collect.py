"""The collector on a schedule: no pod that no task waits for outlives its period."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from bulkhead import CollectOperator

with DAG(
    dag_id="bulkhead_collect",
    description="End pods whose task is over",
    schedule=timedelta(minutes=1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    doc_md=__doc__,
) as dag:
    CollectOperator(task_id="collect", execution_timeout=timedelta(minutes=10))
