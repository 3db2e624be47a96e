"""The evaluate stage: the gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bulkhead import arguments
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.links import MlflowRunLink, ModelVersionLink, Pages
from bulkhead.operators.local_pod import LocalPodOperator
from bulkhead.registries.pages import model_page, run_page
from bulkhead.rollout.revision import check_model_name

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class EvaluateOperator(LocalPodOperator):
    """Checks the data and the candidate in a pod; a candidate that does not pass fails the task, without retry.

    Args:
        model_name: registered model, whose champion is the rival.
        train_task_id: the task whose result names the candidate.
        min_accuracy: threshold on the test images.
        margin: so much lower than the champion's the accuracy may be, as a share; the test images have to show that it
            is no lower (docs/gate.md). 0 asks for a better model.
        kwargs: of ``LocalPodOperator``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    template_fields: Sequence[str] = (*LocalPodOperator.template_fields, "candidate")

    operator_extra_links = (MlflowRunLink(), ModelVersionLink())

    def __init__(
        self,
        *,
        model_name: str,
        train_task_id: str = "train",
        min_accuracy: float = 0.97,
        margin: float = 0.02,
        **kwargs: Any,
    ) -> None:
        check_model_name("model_name", model_name)
        arguments.text("train_task_id", train_task_id)
        for name, value in (("min_accuracy", min_accuracy), ("margin", margin)):
            arguments.number(name, value, lambda share: 0 <= share <= 1, "give a share from 0 to 1")
        trained = "{{ ti.xcom_pull(task_ids='" + train_task_id + "')['%s'] }}"
        command = ["python", "-m", "bulkhead.gpu_tasks.evaluate", "--model-name", model_name]
        command += ["--model-uri", trained % "model_uri", "--run-id", trained % "run_id"]
        command += ["--data-hash", trained % "data_hash"]
        command += ["--min-accuracy", str(min_accuracy), "--margin", str(margin)]
        super().__init__(command=command, **kwargs)
        fields = ("model_uri", "run_id", "experiment_id")
        pulled = "{{ (ti.xcom_pull(task_ids='" + train_task_id + "') or {}).get('%s') or '' }}"
        self.candidate = {field: pulled % field for field in fields}

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
        return Pages(run, model_page(ui, candidate["model_uri"], candidate["experiment_id"]))
