"""Airflow's public REST API, as far as the demo needs it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from bulkhead.errors import UnavailableError

_TIMEOUT_S = 30
_TRIES = 4
"""Of a read that is not answered in time: on a busy machine the api-server may be silent for long; and of whatever
Airflow answers with a database error, which it has undone: on SQLite one of two writers at once is refused."""

_DATABASE_ERROR = b'"Database error"'
_WAIT_S = 1.0


class AirflowClient:
    """Talks to one api-server.

    Args:
        user: a user of the simple auth manager.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self._user, self._password = url, user, password
        self._token = ""

    def healthy(self) -> bool | None:
        """True once scheduler, triggerer and dag-processor have reported; None before."""
        try:
            health = self.call("GET", "/api/v2/monitor/health", authorized=False)
        except UnavailableError:
            return None
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return True if all((health.get(part) or {}).get("status") == "healthy" for part in parts) else None

    def has_dag(self, dag_id: str) -> bool | None:
        """True once the DAG is there; None before.

        Raises:
            UnavailableError: a DAG file cannot be imported; its error is quoted.
        """
        dags = self.call("GET", f"/api/v2/dags?dag_id_pattern={dag_id}")["dags"]
        if dags:
            return True
        broken = self.call("GET", "/api/v2/importErrors")["import_errors"]
        if broken:
            raise UnavailableError(f"{broken[0]['filename']} cannot be imported: {broken[0]['stack_trace'][-800:]}")
        return None

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Trigger a run."""
        self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """A run: ``state``, ``queued_at`` and more."""
        return self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State by task."""
        instances = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return {instance["task_id"]: instance["state"] or "none" for instance in instances}

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The log of a task's latest try: a scheduler that takes over another's tasks begins their next try."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        latest = self.call("GET", path)["try_number"]
        return json.dumps(self.call("GET", f"{path}/logs/{latest}?full_content=true")["content"])

    def call(self, method: str, path: str, body: Any = None, authorized: bool = True) -> dict[str, Any]:
        """Call the API.

        Args:
            method: of HTTP.
            path: with its query.
            body: what becomes JSON, or None.
            authorized: whether to log in.

        Returns:
            The JSON object that it answered.

        Raises:
            UnavailableError: no answer, or one that is not 2xx; it is quoted.
        """
        if authorized and not self._token:
            credentials = {"username": self._user, "password": self._password}
            self._token = self.call("POST", "/auth/token", credentials, authorized=False)["access_token"]
        headers = {"Content-Type": "application/json"}
        if authorized:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        for left in reversed(range(_TRIES)):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                    document: dict[str, Any] = json.load(answer)
                    return document
            except urllib.error.HTTPError as error:
                said = error.read()
                if not (left and error.code == 500 and _DATABASE_ERROR in said):
                    raise UnavailableError(
                        f"Airflow answered {error.code} to {method} {path}: {said[:500]!r}"
                    ) from error
                time.sleep(_WAIT_S)
            except OSError as error:
                late = isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)
                if not (left and late and method == "GET"):
                    raise UnavailableError(f"Airflow does not answer at {self.url}: {error}") from error
        raise AssertionError("the last try returns or raises")
