"""The fleet watch on a schedule, for an installation without ``bulkhead fleet --watch`` as a service."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset

from bulkhead import FLEET, FleetHealthOperator

with DAG(
    dag_id="bulkhead_fleet_health",
    description="Judge the fleet's devices, and open and close quarantines",
    schedule=timedelta(minutes=2),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    doc_md=__doc__,
) as dag:
    FleetHealthOperator(task_id="look", outlets=[Asset(FLEET)], execution_timeout=timedelta(minutes=10))
