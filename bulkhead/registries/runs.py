"""MLflow runs of trainings: made before the pod, found again by a retry, ended with the task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead.pods.training import training_data
from bulkhead.registries.mlflow import mlflow_client, translated
from bulkhead.text import bounded, storable

TASK_TAG = "bulkhead.task"
"""Tag of a run; its value is a digest of the task instance that it belongs to."""

PARAMETERS_TAG = "bulkhead.parameters"
"""Tag of a run: what its training was given, as JSON."""

_LONGEST_TAG = 2000
_ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True)
class TrainingRun:
    """A run of MLflow.

    Attributes:
        run_id: of it.
        experiment_id: of its experiment.
    """

    run_id: str
    experiment_id: str


class TrainingRuns:
    """The runs of trainings in one MLflow.

    Args:
        tracking_uri: of the MLflow server. Credentials come from the environment, as mlflow itself reads them.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._client: Any = mlflow_client(tracking_uri)

    def begin(
        self, experiment: str, key: str, name: str, parameters: Mapping[str, Any], tags: Mapping[str, str]
    ) -> TrainingRun:
        """The run of a task instance: made once, and running again where an earlier try has ended it.

        Args:
            experiment: name of it; made where there is none.
            key: of the task instance, the same over retries.
            name: of the run.
            parameters: of the training. They are shown as a tag: MLflow's own parameters are the program's, and may
                be set but once.
            tags: further ones.

        Raises:
            RefusedError: MLflow does not take such an experiment.
            UnavailableError: it does not answer.
        """
        with translated(f"experiment {experiment!r}"):
            experiment_id = self._experiment(experiment)
            run = self._find(experiment_id, key)
            if run is None:
                shown = {PARAMETERS_TAG: json.dumps(parameters, ensure_ascii=False), **tags}
                own = {tag: bounded(storable(value), _LONGEST_TAG) for tag, value in shown.items()}
                run = self._client.create_run(experiment_id, run_name=name, tags={TASK_TAG: _digest(key), **own})
            elif run.info.status in _ENDED:
                self._client.update_run(run.info.run_id, status="RUNNING")
            return TrainingRun(run.info.run_id, experiment_id)

    def end(self, run: TrainingRun, status: str) -> None:
        """End a run, unless its program has.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.

        Raises:
            UnavailableError: MLflow does not answer.
        """
        with translated(f"run {run.run_id!r}"):
            if self._client.get_run(run.run_id).info.status not in _ENDED:
                self._client.set_terminated(run.run_id, status=status)

    def find(self, experiment: str, key: str) -> TrainingRun | None:
        """The run of a task instance, or None.

        Args:
            experiment: see ``begin``.
            key: see ``begin``.
        """
        with translated(f"experiment {experiment!r}"):
            existing = self._client.get_experiment_by_name(experiment)
            run = self._find(existing.experiment_id, key) if existing is not None else None
            return TrainingRun(run.info.run_id, run.info.experiment_id) if run is not None else None

    def models(self, run: TrainingRun) -> Sequence[str]:
        """URIs of the models that a run has logged, the latest first."""
        with translated(f"run {run.run_id!r}"):
            logged = self._client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'")
            latest = sorted(logged, key=lambda model: model.creation_timestamp, reverse=True)
            return [str(model.model_uri) for model in latest]

    def data(self, run: TrainingRun) -> str:
        """See ``bulkhead.pods.training.training_data``."""
        with translated(f"run {run.run_id!r}"):
            return training_data(self._client.get_run(run.run_id))

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        existing = self._client.get_experiment_by_name(name)
        if existing is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException as taken:  # by another task at the same moment
                if taken.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                existing = self._client.get_experiment_by_name(name)
        return str(existing.experiment_id)

    def _find(self, experiment_id: str, key: str) -> Any:
        runs = self._client.search_runs([experiment_id], f"tags.`{TASK_TAG}` = '{_digest(key)}'", max_results=1)
        return runs[0] if runs else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
