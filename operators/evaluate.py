"""The evaluate stage: the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bulkhead import arguments
from bulkhead.errors import BulkheadError, InvalidInputError, UnavailableError, first_invalid, first_known
from bulkhead.events import EventKind
from bulkhead.gpu_tasks.gate.request import REPORT, GateRequest
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.identity import identity
from bulkhead.operators.launches import ledger_away
from bulkhead.operators.links import GateReportLink, MlflowRunLink, ModelVersionLink, Pages
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.templates import is_templated
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.registries.pages import artifact_page, model_page, run_page
from bulkhead.rollout.revision import check_model_name

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey


class EvaluateOperator(PodOperator):
    """Checks the data and the candidate in a pod; a candidate that does not pass fails the task, without retry.

    First Great Expectations checks the data, then every metric is held to its limits and compared with the champion's
    on the same rows (docs/gate.md), on all of them and on each slice. The evidence is returned, and kept in the MLflow
    run that logged the model, also where it refuses: ``gate.html``, ``gate.json``, ``data_checks.json``, metrics and
    tags.

    Args:
        model_name: registered model, whose version with the alias ``champion`` is the rival.
        data: rows that were not trained on: a file (.parquet, .csv, .jsonl, .npz) by its path or a URL that fsspec
            knows in the pod, or as an artifact of an MLflow run (``runs:/RUN/path.parquet``); data that a run has
            logged (``runs:/RUN/NAME``); or ``package.module:function``, which returns a pandas DataFrame; templated.
        target: column of what is true; templated.
        metrics: what each metric has to keep, by MLflow's name of it, or by ``package.module:function`` for one of
            your own, which takes targets and predictions and returns one number a row: a mapping of ``at_least``,
            ``at_most``, ``margin`` (by so much, in the metric's unit, it may be worse than the champion's),
            ``superiority``, and for your own ``greater_is_better``; templated.
        training_data: what the candidate was trained on, named as ``data`` is; rows that judge it must not be among it;
            by default what its run has logged (``mlflow.log_input``), as far as that can be read; templated.
        most_overlap: largest share of rows that may be, for data whose rows are alike by nature.
        slices: columns whose values are judged each for itself, or functions that take the data and return masks by
            name.
        least_rows: of a slice that is judged.
        checks: suite of Great Expectations: a JSON file, or ``package.module:function``, which returns expectations; by
            default what the model's signature says; templated.
        first: what becomes of a model without a champion: ``allow``, if it keeps the limits; ``approve``, if a person
            lets it pass as well (``bulkhead gate override``); or ``refuse``.
        lost_champion: what becomes of it where the champion no longer loads: ``refuse``, or ``first``, as of a model
            without a champion.
        alpha: probability that a model passes which is worse by a margin.
        cost: what answering may cost: ``latency_median_ms``, ``latency_p95_ms`` (of a request, for each of the
            ``batch_sizes``), ``memory_mib`` (of a process with the model, host and GPU), ``size_mib`` (of its files):
            mappings of ``at_most``, in that unit, and ``at_most_times`` the champion's, which is measured in turns with
            it; templated.
        batch_sizes: rows of a request.
        candidate: URI of the model, ``models:/m-…``, ``models:/NAME/VERSION`` or ``runs:/RUN/PATH``; templated; by
            default ``model_uri`` of what ``train_task_id`` returned.
        train_task_id: the task whose result names the candidate.
        kwargs: of ``PodOperator``, without ``command`` and ``nodes``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    template_fields: Sequence[str] = (*PodOperator.template_fields, "asked", "candidate")

    operator_extra_links = (MlflowRunLink(), ModelVersionLink(), GateReportLink())

    def __init__(
        self,
        *,
        model_name: str,
        data: str,
        target: str,
        metrics: Mapping[str, Mapping[str, Any]],
        training_data: str | None = None,
        most_overlap: float = 0.0,
        slices: Sequence[str] = (),
        least_rows: int = 50,
        checks: str | None = None,
        first: str = "allow",
        lost_champion: str = "refuse",
        alpha: float = 0.05,
        cost: Mapping[str, Mapping[str, Any]] | None = None,
        batch_sizes: Sequence[int] = (1, 32),
        candidate: str | None = None,
        train_task_id: str = "train",
        **kwargs: Any,
    ) -> None:
        check_model_name("model_name", model_name)
        if "nodes" in kwargs:
            raise InvalidInputError("nodes", kwargs["nodes"], "leave it out: one pod judges a model")
        arguments.text("train_task_id", train_task_id)
        if candidate is not None:
            arguments.text("candidate", candidate)
        asked = {
            "model_name": model_name,
            "data": data,
            "target": target,
            "metrics": metrics,
            "training_data": training_data,
            "most_overlap": most_overlap,
            "slices": slices,
            "least_rows": least_rows,
            "checks": checks,
            "first": first,
            "lost_champion": lost_champion,
            "alpha": alpha,
            "cost": cost or {},
            "batch_sizes": batch_sizes,
        }
        try:
            GateRequest.model_validate(asked)
        except ValidationError as error:
            if (wrong := first_known(error, is_templated)) is not None:
                raise wrong from error
        super().__init__(command=["python", "-m", "bulkhead.gpu_tasks.evaluate"], **kwargs)
        self.asked = asked
        pulled = "{{ (ti.xcom_pull(task_ids='" + train_task_id + "') or {}).get('%s') or '' }}"
        self.candidate = {name: pulled % name for name in ("model_uri", "run_id", "experiment_id")}
        if candidate is not None:
            self.candidate = {"model_uri": candidate, "run_id": "", "experiment_id": ""}
        self.train_task_id = train_task_id

    def argv(self) -> Sequence[str]:
        """See ``PodOperator``: with the candidate, and what is asked of it."""
        model_uri = str(self.candidate["model_uri"])
        if not model_uri:
            remedy = "let it return one, or give candidate"
            raise InvalidInputError(f"model_uri of task {self.train_task_id}", model_uri, remedy)
        try:
            asked = GateRequest.model_validate(self.asked)
        except ValidationError as wrong:
            raise first_invalid(wrong) from wrong
        command = [*super().argv(), "--model-uri", model_uri, "--request", asked.model_dump_json()]
        return [*command, *self._override(model_uri)]

    def completed(self, result: dict[str, Any], context: Context) -> Any:
        """See ``LaunchOperator``: that the model has passed is recorded."""
        self._record(context, passed=True, reason="")
        return result

    def failed(self, context: Context, failure: Failure) -> None:
        """See ``LaunchOperator``: a refusal is recorded; any other failure says nothing of the model."""
        if failure.failure_class is FailureClass.GATE:
            self._record(context, passed=False, reason=failure.message)

    def _record(self, context: Context, *, passed: bool, reason: str) -> None:
        """For the metrics, and for whoever asks later; a ledger that is away is no reason to judge again."""
        judged = {"model_name": str(self.asked["model_name"]), "model_uri": str(self.candidate["model_uri"])}
        said = {"passed": passed, "reason": reason, "run": identity(context).owner}
        try:
            control = BulkheadHook(self.bulkhead_conn_id).control()
            control.ledger.events.record(None, EventKind.GATE_VERDICT, {**judged, **said})
        except BulkheadError as away:
            self.log.warning("the gate's verdict could not be recorded, and is missing in the metrics: %s", away)

    def _override(self, model_uri: str) -> Sequence[str]:
        """A person's word that this model may pass: the ledger has it."""
        try:
            override = BulkheadHook(self.bulkhead_conn_id).control().ledger.events.gate_override(model_uri)
        except UnavailableError as away:
            raise ledger_away(self.task_id, away) from away
        return ("--override", override.model_dump_json()) if override is not None else ()

    def pages(self, ti_key: TaskInstanceKey) -> Pages:
        """Where the candidate is looked at.

        Args:
            ti_key: the task instance, whose templates are rendered.

        Raises:
            InvalidInputError: the configuration is wrong.
        """
        ui = BulkheadHook(self.bulkhead_conn_id).control().settings.mlflow_ui
        candidate = {name: str(value) for name, value in self.candidate.items()}  # a DAG may render numbers as such
        run = run_page(ui, candidate["experiment_id"], candidate["run_id"])
        model = model_page(ui, candidate["model_uri"], candidate["experiment_id"])
        return Pages(run, model, report=artifact_page(run, REPORT))
