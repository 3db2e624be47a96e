"""What runs have logged, on a real MLflow server."""

from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.data import load
from bulkhead.gpu_tasks.gate.logged_data import logged
from tests import team

FRAME = team.holdout()


@pytest.fixture(scope="module")
def run_id(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run that has logged three data sets, and the file of one of them as an artifact."""
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.set_experiment("logged-data")
    file = tmp_path_factory.mktemp("data") / "customers.parquet"
    FRAME.to_parquet(file)
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_pandas(FRAME, source=str(file), name="customers"), context="training")
        mlflow.log_input(mlflow.data.from_pandas(FRAME.head(9), name="unknown"), context="eval")
        mlflow.log_input(mlflow.data.from_pandas(FRAME.head(8), source="s3://a/b.orc", name="other"))
        mlflow.log_artifact(str(file), "data")
    return str(run.info.run_id)


def test_it_is_read_with_its_source_and_what_for(run_id: str) -> None:
    found = {one.name: one for one in logged(mlflow.MlflowClient().get_run(run_id))}
    assert found["customers"].source.endswith("/customers.parquet") and found["customers"].trained_on
    assert (found["unknown"].source, found["unknown"].trained_on) == ("", False)
    assert (found["other"].source, found["other"].trained_on) == ("", True)


def test_data_are_named_by_their_run(run_id: str) -> None:
    found = load(f"runs:/{run_id}/customers", "left")
    assert len(found.features) == 400 and list(found.frame.columns) == list(FRAME.columns)


def test_an_artifact_is_read_as_any_file(run_id: str) -> None:
    assert len(load(f"runs:/{run_id}/data/customers.parquet", "left").features) == 400
    with pytest.raises(ConfigError, match=r"^data = 'runs:/\w+/data/none\.csv': cannot be read: "):
        load(f"runs:/{run_id}/data/none.csv", "left")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", r"the run has logged no data of this name; it has logged customers, other, unknown$"),
        ("unknown", r"its file is not known, or none of \.parquet, .*; say from where when it is logged \("),
        ("other", r"its file is not known, or none of \.parquet"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_remedy(run_id: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(f"runs:/{run_id}/{name}", "left")


def test_a_run_that_is_not_there_is_told(run_id: str) -> None:
    with pytest.raises(ConfigError, match=rf"MLflow has no run {'0' * 32}"):
        load(f"runs:/{'0' * 32}/customers", "left")


@pytest.mark.parametrize("source", ["no json", "[]", "{}", '{"uri": 5}', '{"uri": null}', '"a.csv"'])
def test_whatever_stands_for_a_source_is_no_file(source: str) -> None:
    data: Any = SimpleNamespace(name="a", digest="d", source=source)
    inputs = SimpleNamespace(dataset_inputs=[SimpleNamespace(dataset=data, tags=[])])
    (found,) = logged(SimpleNamespace(inputs=inputs))
    assert found.source == "" and logged(SimpleNamespace(inputs=None)) == []
