"""The gate as another team meets it: their project on PYTHONPATH, their model, a real pod, a real MLflow."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from airflow.sdk.exceptions import TaskDeferred
from sklearn.linear_model import LinearRegression

from bulkhead.control import Control
from bulkhead.events import EventKind
from bulkhead.operators.evaluate import EvaluateOperator
from bulkhead.pods.exceptions import GateRefusedError, PodConfigError
from bulkhead.runtimes.local.tasks import end_event
from tests.local_pods import from_inside
from tests.waiting import until

DATA = """
import numpy as np
import pandas as pd


def houses():
    rng = np.random.default_rng(0)
    area, rooms = rng.uniform(30, 200, 300), rng.integers(1, 7, 300)
    city = np.where(np.arange(300) % 3 == 0, "Bern", "Basel")
    return pd.DataFrame({"area": area, "rooms": rooms, "price": 5 * area + 20 * rooms + rng.normal(0, 5, 300)}), city


def holdout():
    frame, _ = houses()
    return frame


def by_city(frame):
    _, city = houses()
    return {name: city == name for name in ("Bern", "Basel")}
"""
METRICS = "def off_by_much(targets, predictions):\n    return abs(predictions - targets) > 30\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Where the team keeps its package."""
    package = tmp_path / "project" / "pricing"
    package.mkdir(parents=True)
    (package / "data.py").write_text(DATA)
    (package / "metrics.py").write_text(METRICS)
    return package.parent


@pytest.fixture
def model_uri(mlflow_uri: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(project))
    from pricing.data import houses  # type: ignore[import-not-found]

    frame, _ = houses()
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.set_experiment("pricing")
    features = frame[["area", "rooms"]]
    with mlflow.start_run():
        model = LinearRegression().fit(features, frame["price"])
        logged = mlflow.sklearn.log_model(model, name="model", input_example=features.head(2), pip_requirements=[])
    return str(logged.model_uri)


def _result(control: Control, context: Callable[..., Any], uri: str, project: Path, **more: Any) -> dict[str, Any]:
    operator = EvaluateOperator(
        **{
            "task_id": "evaluate",
            "model_name": "pricing",
            "candidate": uri,
            "data": "pricing.data:holdout",
            "target": "price",
            "metrics": {
                "root_mean_squared_error": {"at_most": 10, "margin": 1},
                "pricing.metrics:off_by_much": {"at_most": 0.01, "greater_is_better": False},
            },
            "slices": ["pricing.data:by_city"],
            "env": {
                "PYTHONPATH": from_inside(control.runtime, project),
                "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
            },
            "gpus": 0,
            **more,
        }
    )
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context("evaluate"))
    name = deferred.value.trigger.name  # type: ignore[attr-defined]
    until(lambda: control.runtime.status(name).ended, "the pod to end")
    return operator.resume(context("evaluate"), end_event(control.runtime, name, None))


def test_a_regression_of_another_team_is_judged_by_its_own_data_metrics_and_slices(
    control: Control, context: Callable[..., Any], model_uri: str, project: Path
) -> None:
    evidence = _result(control, context, model_uri, project)
    assert 4 < evidence["root_mean_squared_error"] < 6 and evidence["off_by_much"] == 0
    assert evidence["champion"].startswith("none") and evidence["model_uri"] == model_uri
    assert mlflow.MlflowClient().get_run(evidence["run_id"]).data.tags["bulkhead.gate"] == "passed"
    assert [(judged["model_name"], judged["passed"]) for judged in _recorded(control)] == [("pricing", True)]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (
            {"metrics": {"root_mean_squared_error": {"at_most": 1}}},
            GateRefusedError,
            r"root_mean_squared_error is 4\.\d+ on 300 rows, over at_most 1",
        ),
        ({"data": "pricing.data:houseboats"}, PodConfigError, r"module pricing\.data has no function houseboats"),
    ],
    ids=["refused", "mistaken"],
)
def test_a_refusal_is_none_of_the_mistakes(
    control: Control,
    context: Callable[..., Any],
    model_uri: str,
    project: Path,
    more: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        _result(control, context, model_uri, project, **more)
    recorded = _recorded(control)
    assert [judged["passed"] for judged in recorded] == ([False] if error is GateRefusedError else [])
    assert all(judged["model_uri"] == model_uri and "over at_most 1" in judged["reason"] for judged in recorded)


def _recorded(control: Control) -> list[dict[str, Any]]:
    return [dict(event.data) for event in control.ledger.events.select(kind=EventKind.GATE_VERDICT)]
