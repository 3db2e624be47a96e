"""The train stage as another team meets it: their program on PYTHONPATH, real pods, a real MLflow."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.control import Control
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.train import TrainOperator
from bulkhead.pods.exceptions import ApplicationFailedError, ClusterUnreachableError, PodConfigError
from bulkhead.runtimes.local.tasks import end_event
from tests.local_pods import from_inside
from tests.ports import free_port
from tests.waiting import until

Context = Callable[..., Any]

PROGRAM = """
import os
import sys

import mlflow


class Mean(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [0.0] * len(model_input)


def log():
    return mlflow.pyfunc.log_model(name="model", python_model=Mean(), pip_requirements=[])


def main(rate: float, rounds: int = 1):
    with mlflow.start_run() as run:
        mlflow.log_params({"rate": rate})
        mlflow.log_metric("rounds", rounds)
        mlflow.log_input(mlflow.data.from_numpy(__import__("numpy").arange(rounds), name="prices"), context="training")
        return {"model_uri": log().model_uri, "rmse": rate * rounds}


def says_nothing():
    with mlflow.start_run():
        log()


def forgets_its_model():
    with mlflow.start_run():
        mlflow.log_metric("loss", 1.0)


def breaks_once():
    with mlflow.start_run():
        if not os.path.exists(os.environ["MARK"]):
            open(os.environ["MARK"], "w").close()
            raise ValueError("no such column")
        return log().model_uri


def ranks():
    return {"model_uri": "models:/m-1", "world": int(os.environ["WORLD_SIZE"])}


if __name__ == "__main__":
    assert os.environ["BULKHEAD_PARAMETERS"] == '{"rate": 2}', os.environ["BULKHEAD_PARAMETERS"]
    says_nothing()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Where the team keeps its package."""
    package = tmp_path / "project" / "pricing"
    package.mkdir(parents=True)
    (package / "train.py").write_text(PROGRAM)
    return package.parent


@pytest.fixture
def experiment() -> str:
    """Of this test alone: every test has the same task instance."""
    return f"pricing-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make(
    control: Control, project: Path, mlflow_uri: str, tmp_path: Path, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TrainOperator]:
    monkeypatch.setenv("BULKHEAD_MLFLOW_TRACKING_URI", mlflow_uri)
    mlflow.set_tracking_uri(mlflow_uri)
    paths = {"PYTHONPATH": project, "MARK": tmp_path / "mark"}
    env = {name: from_inside(control.runtime, path) for name, path in paths.items()}

    def operator(function: str | None, **more: Any) -> TrainOperator:
        named = {} if function is None else {"entrypoint": f"pricing.train:{function}"}
        return TrainOperator(**{"task_id": "train", "env": env, "gpus": 0, "experiment": experiment, **named, **more})

    return operator


def _result(control: Control, operator: TrainOperator, context: Any) -> dict[str, Any]:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    trigger = deferred.value.trigger
    nodes = getattr(trigger, "nodes", None)
    names = [f"{trigger.name}-{rank}" for rank in range(nodes)] if nodes else [trigger.name]  # type: ignore[attr-defined]
    until(lambda: all(control.runtime.status(name).ended for name in names), "the pod to end")
    return operator.resume(context, end_event(control.runtime, trigger.name, nodes))  # type: ignore[attr-defined]


def test_an_entry_point_is_called_in_a_run_that_was_made_for_it(
    control: Control, context: Context, make: Callable[..., TrainOperator], experiment: str
) -> None:
    result = _result(control, make("main", parameters={"rate": "0.5", "rounds": 4}), context("train"))
    assert result["rmse"] == 2.0 and result["model_uri"].startswith("models:/m-")
    assert result["training_data"].startswith("prices@")
    run = mlflow.get_run(result["run_id"])
    assert (run.info.status, run.info.experiment_id) == ("FINISHED", result["experiment_id"])
    assert (run.data.params, run.data.metrics["rounds"]) == ({"rate": "0.5"}, 4.0)
    assert run.data.tags["bulkhead.parameters"] == '{"rate": "0.5", "rounds": 4}'
    assert mlflow.get_experiment(run.info.experiment_id).name == experiment


@pytest.mark.parametrize("function", ["says_nothing", None])
def test_the_model_that_was_logged_counts_where_none_is_named(
    control: Control, context: Context, make: Callable[..., TrainOperator], function: str | None
) -> None:
    more = {} if function else {"command": ["python", "-m", "pricing.train"], "parameters": {"rate": 2}}
    result = _result(control, make(function, **more), context("train"))
    assert (
        mlflow.MlflowClient().get_logged_model(result["model_uri"].removeprefix("models:/")).source_run_id
        == (result["run_id"])
    )


def test_a_retry_goes_on_with_the_same_run(
    control: Control, context: Context, make: Callable[..., TrainOperator], experiment: str
) -> None:
    with pytest.raises(ApplicationFailedError, match="no such column"):
        _result(control, make("breaks_once"), context("train"))
    (failed,) = mlflow.search_runs(
        experiment_names=[experiment], filter_string="attributes.status = 'FAILED'", output_format="list"
    )
    result = _result(control, make("breaks_once"), context("train", try_number=2))
    assert result["run_id"] == failed.info.run_id
    assert mlflow.get_run(result["run_id"]).info.status == "FINISHED"


def test_a_training_that_leaves_no_model_fails_without_a_retry(
    control: Control, context: Context, make: Callable[..., TrainOperator]
) -> None:
    with pytest.raises(AirflowFailException, match="ended well and left no model: it returned no model_uri, and its"):
        _result(control, make("forgets_its_model"), context("train"))


def test_a_wrong_parameter_fails_without_a_retry_by_its_name(
    control: Control, context: Context, make: Callable[..., TrainOperator]
) -> None:
    with pytest.raises(PodConfigError, match=r"parameters\[rate\] = 'fast': pricing.train:main says: Input should be"):
        _result(control, make("main", parameters={"rate": "fast"}), context("train"))


def test_several_nodes_train_one_model(control: Control, context: Context, make: Callable[..., TrainOperator]) -> None:
    assert _result(control, make("ranks", nodes=2), context("train"))["world"] == 2


def test_without_an_mlflow_nothing_is_created_and_another_try_may_find_it(
    control: Control, context: Context, make: Callable[..., TrainOperator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKHEAD_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ClusterUnreachableError, match="the training's run cannot be made, so nothing was created"):
        make("main").execute(context("train"))
    assert list(control.runtime.list({})) == [] and control.ledger.launches.active() == []


def test_a_deleted_experiment_is_refused_by_name(
    control: Control, context: Context, make: Callable[..., TrainOperator]
) -> None:
    mlflow.delete_experiment(mlflow.create_experiment("gone"))
    with pytest.raises(AirflowFailException, match="experiment = 'gone': MLflow refuses experiment 'gone'"):
        make("main", experiment="gone").execute(context("train"))


def test_the_experiment_is_the_dags_where_none_is_named(
    control: Control, context: Context, make: Callable[..., TrainOperator]
) -> None:
    variables = make("main", experiment=None).variables(context("train"), BulkheadHook().control())
    assert mlflow.get_experiment(variables["MLFLOW_EXPERIMENT_ID"]).name == "release"
