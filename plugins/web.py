"""The Control Room in Airflow's api-server: a JSON API for whoever is logged in there, and pages that show it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bulkhead.web import BUNDLE

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/bulkhead/api"
"""Where it is below Airflow's own URL."""


# One bundle for all: each name is that of its component, which bulkhead/web/app/src/main.tsx gives it, and its label.
PAGES = [
    {"name": name, "bundle_url": f"{PREFIX.removeprefix('/')}{BUNDLE}", "url_route": route, "destination": destination}
    for name, route, destination in (
        ("Bulkhead", "bulkhead", "nav"),
        ("Release", "bulkhead-release", "task_instance"),
        ("Releases", "bulkhead-releases", "dag_run"),
        ("BulkheadDashboard", "bulkhead-dashboard", "dashboard"),
    )
]
"""Where Airflow's pages show ours."""


class ProtectedApi:
    """The API, made for its first request: each process of Airflow's loads the plugins, and one of them serves this."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        with self._lock:
            if self._app is None:
                self._app = _make()
        await self._app(scope, receive, send)


def _make() -> ASGIApp:
    from bulkhead.operators.hooks import BulkheadHook
    from bulkhead.plugins.web_login import person
    from bulkhead.web.api import create_app

    return create_app(BulkheadHook().commands, person)
