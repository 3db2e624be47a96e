"""Metrics to MLflow from a thread of its own: a server that is away neither stalls nor fails the training."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bulkhead.gpu_tasks.stores.base import Store

log = logging.getLogger(__name__)

_AT_ONCE = 500
"""Metrics of one request; MLflow takes at most 1,000."""

_REFUSED = (400, 404, 413, 422)
"""Of HTTP: no later try would be taken. A login may be mended, an overload passes."""

LEFT = "metrics-left.jsonl"
"""Beside the checkpoints: metrics that could not be logged by the end, one JSON object a line."""

RUN = "mlflow-run"
"""Beside the checkpoints: the name of their training's run."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 15.0


class Point(NamedTuple):
    """One value of a metric.

    Attributes:
        name: of the metric.
        value: of it.
        step: of the training.
        at_ms: in milliseconds since 1970.
    """

    name: str
    value: float
    step: int
    at_ms: int


class RejectedError(Exception):
    """The server has understood what it was told, and does not take it: it never will."""


class Tracker:
    """Logs to one MLflow run, in order, as soon as the server lets it.

    Args:
        send: logs some points, as a ``Run`` does. Raises ``OSError`` where the server is away, and
            ``RejectedError`` where it refuses one of them.
        left: store that gets what could not be logged by the end, as ``LEFT``.
        most: points that are kept while the server is away; beyond it the oldest are dropped, and counted.

    Attributes:
        dropped: points that were dropped.
        rejected: points that the server has refused.
    """

    def __init__(self, send: Callable[[list[Point]], None], left: Store, most: int = 100_000) -> None:
        self._send, self._left = send, left
        self._points: deque[Point] = deque(maxlen=most)
        self._changed = threading.Condition()
        self._closing = self._given_up = False
        self.dropped = self.rejected = 0
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Have metrics logged; comes back at once."""
        at_ms = int(time.time() * 1000)
        with self._changed:
            for name, value in metrics.items():
                self.dropped += len(self._points) == self._points.maxlen
                self._points.append(Point(name, value, step, at_ms))
            self._changed.notify()

    def close(self, limit_s: float) -> int:
        """Wait until everything is logged, but not for ever; what is left is written to the store.

        Args:
            limit_s: so long at most, in seconds.

        Returns:
            How many points are left.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(limit_s)
        with self._changed:
            self._given_up, left = True, list(self._points)
        if left:
            self._keep(left, limit_s)
        if self.dropped:
            log.error("%d metrics were dropped while MLflow was away", self.dropped)
        return len(left)

    def _keep(self, left: list[Point], limit_s: float) -> None:
        lines = "".join(json.dumps(point._asdict()) + "\n" for point in left)
        try:
            self._left.write_note(LEFT, (self._left.read_note(LEFT) or "") + lines)
        except OSError as error:  # the training is done all the same
            log.error("%d metrics could not be logged in %g s, nor kept: %s", len(left), limit_s, error)
            return
        log.error("%d metrics could not be logged in %g s: they are in %s", len(left), limit_s, self._left.at(LEFT))

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._points or self._closing)
                some = [self._points[index] for index in range(min(_AT_ONCE, len(self._points)))]
                dropped = self.dropped
            if not some or self._given_up:
                return
            try:
                self._deliver(some)
            except OSError as error:
                log.warning("MLflow does not take metrics now: %s; trying again in %g s", error, wait_s)
                wait_s = self._wait(wait_s)
                continue
            wait_s = _FIRST_WAIT_S
            with self._changed:
                # Those that were dropped meanwhile stood in front of the ones that were sent, or were among them.
                for _ in range(max(0, len(some) - (self.dropped - dropped))):
                    self._points.popleft()

    def _deliver(self, some: list[Point]) -> None:
        """Send points; if some are refused, each by itself, so that one does not take the others with it."""
        try:
            self._send(some)
        except RejectedError as error:
            if len(some) > 1:
                for point in some:
                    self._deliver([point])
                return
            self.rejected += 1
            log.error("MLflow refuses metric %s of step %d: %s", some[0].name, some[0].step, error)

    def _wait(self, wait_s: float) -> float:
        """Wait before another try, shortly once the training is over; the next wait."""
        with self._changed:
            if self._closing:
                self._changed.wait(_FIRST_WAIT_S)
                return _FIRST_WAIT_S
            self._changed.wait_for(lambda: self._closing, wait_s)
        return min(wait_s * 2, _LONGEST_WAIT_S)


class Run:
    """An MLflow run, made when the first metrics are sent: a server that is away then delays nothing. ``send`` of a
    ``Tracker``.

    Args:
        experiment: by name; made where it is missing.
        params: of the run.
        tracking_uri: of the server; None for mlflow's own.
        remember: store of the checkpoints, that keeps the run's name as ``RUN``: a training that goes on from one goes
            on with its run too, as long as the server has it. None for a new run each time.

    Attributes:
        run_id: of the run; None until it is made or found.
    """

    def __init__(
        self,
        experiment: str,
        params: Mapping[str, Any],
        tracking_uri: str | None = None,
        remember: Store | None = None,
    ) -> None:
        # MLflow would try again for minutes by itself, and hold up the end of the job for so long.
        for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")):
            os.environ.setdefault(name, value)
        self._experiment, self._params, self._uri = experiment, dict(params), tracking_uri
        self._remember = remember
        self.run_id: str | None = None

    def __call__(self, points: list[Point]) -> None:
        """Log some points.

        Args:
            points: at most 1,000.

        Raises:
            OSError: the server is away.
            RejectedError: it refuses one of them.
        """
        from mlflow import MlflowClient
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        client = MlflowClient(self._uri)
        try:
            if self.run_id is None:
                self.run_id = self._found(client) or self._made(client)
            metrics = [Metric(point.name, point.value, point.at_ms, point.step) for point in points]
            client.log_batch(self.run_id, metrics=metrics, synchronous=True)
        except MlflowException as error:
            refused = error.get_http_status_code() in _REFUSED
            raise (RejectedError if refused else OSError)(str(error)) from error

    def _found(self, client: Any) -> str | None:
        """The run of an earlier try, going on; None where there is none, or its server does not know it any more."""
        from mlflow.exceptions import MlflowException

        run_id = self._remember.read_note(RUN) if self._remember is not None else None
        if not run_id:
            return None
        try:
            client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            if error.get_http_status_code() not in _REFUSED:
                raise
            log.warning("MLflow does not go on with run %s: %s; a new one is begun", run_id, error)
            return None
        return run_id

    def _made(self, client: Any) -> str:
        from mlflow.entities import Param

        experiment = client.get_experiment_by_name(self._experiment)
        where = experiment.experiment_id if experiment else client.create_experiment(self._experiment)
        run_id = str(client.create_run(where).info.run_id)
        params = [Param(name, str(value)[:500]) for name, value in self._params.items()]
        client.log_batch(run_id, params=params, synchronous=True)
        if self._remember is not None:
            self._remember.write_note(RUN, run_id)
        return run_id

    def finish(self, status: str) -> None:
        """Say how the run ended, if the server lets it; a training does not fail by that.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.
        """
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        if self.run_id is not None:
            try:
                MlflowClient(self._uri).set_terminated(self.run_id, status)
            except MlflowException as error:
                log.warning("MLflow does not take the end of run %s: %s", self.run_id, error)
