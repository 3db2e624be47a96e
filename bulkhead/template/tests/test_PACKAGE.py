"""The project in a minute, without Airflow's processes and without pods."""

import runpy
from pathlib import Path

import mlflow
import pytest
from PACKAGE.data import by_size, holdout, training
from PACKAGE.train import main

ROOT = Path(__file__).parents[1]


def test_the_dag_is_read():
    dag = runpy.run_path(str(ROOT / "dags" / "PACKAGE_release.py"))["dag"]
    assert list(dag.task_ids) == ["train", "evaluate"]


def test_no_row_is_trained_on_and_judged():
    assert not set(training().index) & set(holdout().index)


def test_every_row_is_in_a_slice():
    frame = holdout()
    assert sum(by_size(frame).values()).all()


@pytest.fixture
def tracking(tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.create_experiment("PACKAGE", artifact_location=str(tmp_path / "artifacts"))
    mlflow.set_experiment("PACKAGE")


def test_it_trains_a_model_that_answers(tracking):
    model = mlflow.pyfunc.load_model(main(c=1.0).model_uri)
    frame = holdout()
    assert set(model.predict(frame.drop(columns="benign"))) == {0, 1}
