"""The Airflow plugin."""

from __future__ import annotations

from typing import ClassVar

from airflow.plugins_manager import AirflowPlugin

from bulkhead.plugins import listener
from bulkhead.plugins.deadlines import RunParamDeadline


class BulkheadPlugin(AirflowPlugin):
    """Listener and deadline reference."""

    name = "bulkhead"
    listeners: ClassVar = [listener]
    deadline_references: ClassVar = [RunParamDeadline]
