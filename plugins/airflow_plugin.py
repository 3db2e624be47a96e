"""The Airflow plugin."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from bulkhead.plugins import listener
from bulkhead.plugins.deadlines import RunParamDeadline
from bulkhead.plugins.web import PAGES, PREFIX, ProtectedApi


class BulkheadPlugin(AirflowPlugin):
    """Listener, deadline reference, and the Control Room: its JSON API and its pages in Airflow's web interface."""

    name = "bulkhead"
    listeners = [listener]  # noqa: RUF012 - so Airflow's own plugins are written
    deadline_references = [RunParamDeadline]  # noqa: RUF012
    fastapi_apps = [{"app": ProtectedApi(), "url_prefix": PREFIX, "name": "Bulkhead"}]  # noqa: RUF012
    react_apps = PAGES
