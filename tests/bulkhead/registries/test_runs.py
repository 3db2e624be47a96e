"""Runs of trainings on a real MLflow server."""

import itertools
import threading
from typing import Any

import mlflow
import pytest

from bulkhead.errors import RefusedError, UnavailableError
from bulkhead.registries.runs import TASK_TAG, TrainingRun, TrainingRuns
from tests.hostile import NASTY
from tests.ports import free_port

_numbers = itertools.count()


@pytest.fixture
def runs(mlflow_uri: str) -> TrainingRuns:
    mlflow.set_tracking_uri(mlflow_uri)
    return TrainingRuns(mlflow_uri)


@pytest.fixture
def experiment() -> str:
    return f"experiment-{next(_numbers)}"


def _begin(runs: TrainingRuns, experiment: str, key: str = "airflow:d/r/train/-1#0", **more: Any) -> TrainingRun:
    return runs.begin(experiment, key, "train", more, {"bulkhead.dag": "d"})


def _status(run: TrainingRun) -> str:
    return str(mlflow.MlflowClient().get_run(run.run_id).info.status)


def test_a_task_instance_has_one_run_over_its_retries(runs: TrainingRuns, experiment: str) -> None:
    first = _begin(runs, experiment, seed=1)
    assert _begin(runs, experiment, seed=1) == first == runs.find(experiment, "airflow:d/r/train/-1#0")
    assert _begin(runs, experiment, key="airflow:d/r/train/-1#1") != first
    tags = mlflow.MlflowClient().get_run(first.run_id).data.tags
    assert (tags["bulkhead.parameters"], tags["bulkhead.dag"], tags["mlflow.runName"]) == ('{"seed": 1}', "d", "train")


def test_a_retry_goes_on_with_a_run_that_had_failed(runs: TrainingRuns, experiment: str) -> None:
    run = _begin(runs, experiment)
    runs.end(run, "FAILED")
    assert _status(run) == "FAILED"
    _begin(runs, experiment)
    assert _status(run) == "RUNNING"


def test_what_its_program_has_ended_is_left_so(runs: TrainingRuns, experiment: str) -> None:
    run = _begin(runs, experiment)
    mlflow.MlflowClient().set_terminated(run.run_id, status="KILLED")
    runs.end(run, "FINISHED")
    assert _status(run) == "KILLED"


def test_there_is_none_where_nothing_has_begun(runs: TrainingRuns, experiment: str) -> None:
    assert runs.find(experiment, "k") is None
    _begin(runs, experiment)
    assert runs.find(experiment, "k") is None


def test_its_models_and_data_are_found(runs: TrainingRuns, experiment: str) -> None:
    import numpy as np

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return model_input

    run = _begin(runs, experiment)
    assert (list(runs.models(run)), runs.data(run)) == ([], "")
    with mlflow.start_run(run_id=run.run_id):
        uris = [
            mlflow.pyfunc.log_model(name=name, python_model=Echo(), pip_requirements=[]).model_uri
            for name in ("first", "second")
        ]
        mlflow.log_input(mlflow.data.from_numpy(np.arange(3), name="numbers"), context="training")
    assert list(runs.models(run)) == uris[::-1]
    assert runs.data(run).startswith("numbers@")


@pytest.mark.parametrize("text", NASTY)
def test_names_from_outside_find_their_run_again(runs: TrainingRuns, experiment: str, text: str) -> None:
    key = f"airflow:d/{text}/train/-1#0"
    first = runs.begin(experiment, key, "train", {"text": text}, {"bulkhead.run": text})
    assert runs.find(experiment, key) == first
    assert TASK_TAG in mlflow.MlflowClient().get_run(first.run_id).data.tags


def test_tasks_that_begin_at_once_share_their_experiment(runs: TrainingRuns, experiment: str, mlflow_uri: str) -> None:
    gate, begun = threading.Barrier(4), []

    def begin(number: int) -> None:
        own = TrainingRuns(mlflow_uri)
        gate.wait(60)
        begun.append(_begin(own, experiment, key=f"airflow:d/r/train/{number}#0"))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.run_id for run in begun}) == 4 and len({run.experiment_id for run in begun}) == 1


def test_an_experiment_that_was_deleted_is_a_refusal(runs: TrainingRuns, experiment: str) -> None:
    run = _begin(runs, experiment)
    mlflow.MlflowClient().delete_experiment(run.experiment_id)
    with pytest.raises(RefusedError, match="MLflow refuses experiment"):
        _begin(runs, experiment)


def test_a_server_that_is_away_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnavailableError, match="does not answer about experiment"):
        _begin(TrainingRuns(f"http://127.0.0.1:{free_port()}"), "e")
