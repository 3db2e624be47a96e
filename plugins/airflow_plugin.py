"""The Airflow plugin."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from bulkhead.plugins import listener
from bulkhead.plugins.deadlines import RunParamDeadline


class BulkheadPlugin(AirflowPlugin):
    """Listener and deadline reference."""

    name = "bulkhead"
    listeners = [listener]  # noqa: RUF012 - so Airflow's own plugins are written
    deadline_references = [RunParamDeadline]  # noqa: RUF012
