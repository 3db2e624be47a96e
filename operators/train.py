"""The train stage: a program of the user's own, whatever its framework, with an MLflow run made for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bulkhead import arguments
from bulkhead.errors import BulkheadError, InvalidInputError, NotFoundError, RefusedError, UnavailableError
from bulkhead.operators.ends import PlainFailure
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.identity import identity
from bulkhead.operators.insistence import insist
from bulkhead.operators.links import MlflowRunLink, Pages
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.templates import check_known
from bulkhead.pods.exceptions import error
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.training import PARAMETERS_VARIABLE
from bulkhead.registries.pages import run_page
from bulkhead.registries.runs import TrainingRun, TrainingRuns

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey

    from bulkhead.control import Control

_ENTRYPOINT = "bulkhead.gpu_tasks.entrypoint"


class TrainOperator(PodOperator):
    """Trains a model of yours in a pod, or on several nodes, with an MLflow run that a retry goes on with.

    The run is made before the pod; the program finds it in ``MLFLOW_RUN_ID``, which ``mlflow.start_run()`` and
    autologging go by. The task returns ``model_uri``, ``run_id``, ``experiment_id``, what the program itself has
    returned, and ``training_data``: names and digests of what it has told ``mlflow.log_input``.

    Args:
        entrypoint: ``package.module:function``, which the image must have, beside Bulkhead. It is called with
            ``parameters``, and returns the URI of its model, what ``log_model`` returned, a mapping with ``model_uri``
            and whatever else is small, or None: then the model that was logged last counts. Templated.
        command: argv of any other program, in place of ``entrypoint``. It leaves its result by an outcome
            (docs/pods.md), or logs a model to its run.
        parameters: of the training, JSON: arguments of the entry point; of a command in ``BULKHEAD_PARAMETERS``. They
            are shown in the run's tags. Templated; a text that a template gives becomes what the annotation of the
            entry point says.
        experiment: MLflow experiment; templated; by default the DAG's id.
        kwargs: of ``PodOperator``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    template_fields: Sequence[str] = (*PodOperator.template_fields, "entrypoint", "parameters", "experiment")

    operator_extra_links = (MlflowRunLink(),)

    def __init__(
        self,
        *,
        entrypoint: str | None = None,
        command: Sequence[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        experiment: str | None = None,
        **kwargs: Any,
    ) -> None:
        if (entrypoint is None) == (command is None):
            raise InvalidInputError("entrypoint", entrypoint, "give entrypoint or command, one of the two")
        if entrypoint is not None:
            check_known(arguments.function_name, "entrypoint", entrypoint)
        if experiment is not None:
            check_known(arguments.text, "experiment", experiment)
        check_known(_check_parameters, "parameters", parameters or {})
        super().__init__(command=["-m", _ENTRYPOINT] if command is None else command, **kwargs)
        if self.command[0] == "-m":  # nothing starts ranks
            self.command = ["python", *self.command]
        self.entrypoint, self.parameters, self.experiment = entrypoint, dict(parameters or {}), experiment
        self._run: TrainingRun | None = None

    def argv(self) -> Sequence[str]:
        """See ``PodOperator``: with the entry point."""
        return [*super().argv(), *([self.entrypoint] if self.entrypoint is not None else [])]

    def variables(self, context: Context, control: Control) -> dict[str, str]:
        """See ``PodOperator``: with the parameters and the MLflow run, which is made here.

        Raises:
            InvalidInputError: a template has become what it may not be.
            PodFailedError: MLflow does not answer.
        """
        _check_parameters("parameters", self.parameters)
        task = identity(context)
        name = task.pod_name(context["ti"].try_number)
        tags = {"bulkhead.dag": task.dag_id, "bulkhead.run": task.run_id, "bulkhead.pod": name}
        try:
            self._run = _runs(control).begin(self._experiment(context), task.key, task.task_id, self.parameters, tags)
        except (RefusedError, NotFoundError) as refused:
            raise InvalidInputError("experiment", self._experiment(context), str(refused)) from refused
        except UnavailableError as away:
            message = f"the training's run cannot be made, so nothing was created: {away}"
            failure = Failure(failure_class=FailureClass.CLUSTER_UNREACHABLE, kind="mlflow", message=message)
            raise error(name, failure) from away
        return {
            PARAMETERS_VARIABLE: json.dumps(self.parameters),
            "MLFLOW_RUN_ID": self._run.run_id,
            "MLFLOW_EXPERIMENT_ID": self._run.experiment_id,
        }

    def completed(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        """See ``LaunchOperator``: with the run, the model and the data.

        Raises:
            AirflowFailException: the training has left no model.
            UnavailableError: MLflow does not answer, though it was tried again for minutes; the pod stays.
        """
        control = BulkheadHook(self.bulkhead_conn_id).control()
        return insist(lambda: self._completed(result, context, _runs(control)))

    def failed(self, context: Context, failure: Failure) -> None:
        """See ``LaunchOperator``: the run has failed as well, until the next try goes on with it."""
        try:
            runs = _runs(BulkheadHook(self.bulkhead_conn_id).control())
            run = runs.find(self._experiment(context), identity(context).key)
            if run is not None:
                self._run = run
                runs.end(run, "FAILED")
        except BulkheadError as away:  # the failure itself is what counts
            self.log.warning("the MLflow run could not be marked as failed: %s", away)

    def pages(self, ti_key: TaskInstanceKey) -> Pages:
        """Where the run is looked at.

        Args:
            ti_key: the task instance, whose templates are rendered.

        Raises:
            InvalidInputError: the configuration is wrong.
        """
        if self._run is None:
            return Pages()
        ui = BulkheadHook(self.bulkhead_conn_id).control().settings.mlflow_ui
        return Pages(run_page(ui, self._run.experiment_id, self._run.run_id))

    def _completed(self, result: dict[str, Any], context: Context, runs: TrainingRuns) -> dict[str, Any]:
        self._run = runs.find(self._experiment(context), identity(context).key)
        if self._run is None:
            raise PlainFailure(
                f"The MLflow run of this training is gone from experiment {self._experiment(context)!r}: it was "
                "deleted. Restore it, or clear the task to train again."
            )
        if not result.get("model_uri"):
            models = runs.models(self._run)
            if not models:
                raise PlainFailure(
                    "The training ended well and left no model: it returned no model_uri, and its MLflow run "
                    f"{self._run.run_id} has none. Let it log one (mlflow.….log_model), or return its URI."
                )
            result = {**result, "model_uri": models[0]}
        runs.end(self._run, "FINISHED")
        lineage = runs.data(self._run)
        own = {"run_id": self._run.run_id, "experiment_id": self._run.experiment_id}
        return {**own, **({"training_data": lineage} if lineage else {}), **result}

    def _experiment(self, context: Context) -> str:
        return self.experiment or identity(context).dag_id


def _runs(control: Control) -> TrainingRuns:
    control.load_credentials()
    return TrainingRuns(control.settings.mlflow_tracking_uri)


def _check_parameters(field: str, value: Any) -> None:
    remedy = "give a mapping of names to JSON: texts, numbers, lists, mappings, True, False, None"
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name for name in value):
        raise InvalidInputError(field, value, remedy)
    for name, item in value.items():
        try:
            json.dumps(item, allow_nan=False)
        except (TypeError, ValueError) as wrong:
            raise InvalidInputError(f"{field}[{name}]", item, remedy) from wrong
