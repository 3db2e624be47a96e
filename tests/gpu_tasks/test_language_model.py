"""The language model as users train, log and serve it, on a real MLflow server."""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import scoring_server
from starlette.testclient import TestClient

from bulkhead.gpu_tasks.entrypoint import call
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.answers import ask
from bulkhead.gpu_tasks.gate.metrics import METRICS, compute
from bulkhead.gpu_tasks.language_model import train
from bulkhead.gpu_tasks.text import by_place, next_bytes
from bulkhead.pods.training import CHECKPOINTS_VARIABLE

ENTRYPOINT = "bulkhead.gpu_tasks.language_model:train"
SMALL: dict[str, Any] = {"steps": "8", "batch": "4", "most_bytes": "2000000"}
"""As texts, as Airflow's templates give them."""


@pytest.fixture(scope="module", autouse=True)
def experiment(mlflow_uri: str) -> None:
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.set_experiment("language")


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    return dict(call(ENTRYPOINT, SMALL))


@pytest.fixture(scope="module")
def model(trained: dict[str, Any]) -> Any:
    return mlflow.pyfunc.load_model(trained["model_uri"])


def test_it_logs_what_it_was_trained_on_and_how_it_went(trained: dict[str, Any]) -> None:
    model_id = trained["model_uri"].removeprefix("models:/")
    run = mlflow.MlflowClient().get_run(mlflow.MlflowClient().get_logged_model(model_id).source_run_id)
    assert run.data.params["size"] == "100k" and run.data.params["steps"] == "8"
    assert 0 < trained["loss"] == pytest.approx(run.data.metrics["loss"], abs=1e-4)
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.name == "python-sources" and trained["parameters"] == 131_392


def test_it_tells_how_likely_each_byte_is_whatever_came_before(model: Any) -> None:
    texts = ["", "a", "def main(", "x" * 1000, "größer"]
    found = model.predict(pd.DataFrame({"context": texts}))
    assert found.shape == (5, 256) and np.allclose(found.sum(axis=1), 1, atol=1e-4)
    alone = model.predict(pd.DataFrame({"context": ["def main("]}))
    assert np.allclose(alone[0], found[2], atol=1e-5)


def test_it_serves(model: Any) -> None:
    client = TestClient(scoring_server.init(model))
    body = json.dumps({"dataframe_split": {"columns": ["context"], "data": [["import "], ["for "]]}})
    answer = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200 and np.shape(answer.json()["predictions"]) == (2, 256)


def test_its_perplexity_is_that_of_the_loss_it_learns(model: Any) -> None:
    rows = next_bytes(rows=100, most_bytes=2_000_000)
    targets = rows["next"].to_numpy()
    answers = ask(model, rows[["context"]], targets, "candidate", probabilities=True)
    assert answers.probabilities is not None
    perplexity, loss = (compute(METRICS[name], targets, answers.probabilities) for name in ("perplexity", "log_loss"))
    assert perplexity == pytest.approx(np.exp(loss)) and 1 < perplexity < 256


def test_a_later_try_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path))
    first, second = (call(ENTRYPOINT, SMALL) for _ in range(2))
    assert first["resumed_from"] is None and second["resumed_from"] == 8


def test_only_the_first_rank_logs_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkhead.gpu_tasks.train_gpt.train", lambda arguments: {"steps": arguments.steps})
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(mlflow, "start_run", None)
    assert train(steps=5) == {"steps": 5}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": "2m"}, r"^size = '2m': give one of 100k, 1m, 10m, "),
        ({"size": "100k", "batch": 0}, r"batch = 0"),
        ({"size": "100k", "most_bytes": 5}, r"too few to hold one out"),
    ],
)
def test_what_is_out_of_range_is_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(**{"steps": 2, **wrong})


# What judges it


def test_rows_that_judge_are_of_files_that_were_not_trained_on() -> None:
    rows = next_bytes(rows=200, most_bytes=2_000_000)
    assert list(rows.columns) == ["context", "next"] and len(rows) == 200
    assert (rows["context"].map(len) == 96).all() and rows["next"].between(0, 127).all()
    assert rows.equals(next_bytes(rows=200, most_bytes=2_000_000))
    places = by_place(rows)
    assert (places["comments"] ^ places["code"]).all() and 0 < places["comments"].sum() < 100


def test_too_many_rows_for_the_text_are_told() -> None:
    with pytest.raises(ConfigError, match=r"^rows = 900000: the text has \d+ such; give fewer, or more text$"):
        next_bytes(rows=900_000, most_bytes=2_000_000)
