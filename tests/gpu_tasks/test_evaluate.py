"""The gate, on real models of a real MLflow server."""

from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest

from bulkhead.gpu_tasks import digits
from bulkhead.gpu_tasks import evaluate as module
from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.evaluate import evaluate
from bulkhead.gpu_tasks.train import train
from bulkhead.registries.mlflow import MlflowRegistry


@pytest.fixture(scope="module")
def good(mlflow_uri: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(mlflow_uri)
    return dict(train("digits", seed=0, epochs=12, channels=16, fault="none"))


@pytest.fixture(scope="module")
def poor(mlflow_uri: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(mlflow_uri)
    return dict(train("digits", seed=0, epochs=2, channels=1, fault="none"))


def _evaluate(trained: dict[str, Any], model_name: str, **more: Any) -> dict[str, Any]:
    settings = {"data_hash": trained["data_hash"], "min_accuracy": 0.97, "margin": 0.02, **more}
    return dict(evaluate(trained["model_uri"], trained["run_id"], model_name=model_name, **settings))


def _tags(trained: dict[str, Any]) -> dict[str, str]:
    return dict(mlflow.MlflowClient().get_run(trained["run_id"]).data.tags)


def test_a_good_first_model_passes_and_the_evidence_is_kept(good: dict[str, Any]) -> None:
    evidence = _evaluate(good, "gate-first")
    assert evidence["accuracy"] >= 0.97
    assert evidence["data_checks"] == 7 + 2 * digits.PIXELS
    assert "first model" in evidence["champion"]
    assert _tags(good)["bulkhead.gate"] == "passed"
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(good["run_id"])}
    assert "data_checks.json" in names


def test_a_poor_model_is_refused_with_the_numbers_in_mlflow_too(poor: dict[str, Any]) -> None:
    with pytest.raises(GateError, match=r"accuracy 0\.\d+ on 450 test images is under min_accuracy 0\.97") as caught:
        _evaluate(poor, "gate-poor")
    tags = _tags(poor)
    assert tags["bulkhead.gate"] == "refused"
    assert tags["bulkhead.gate.reason"] == str(caught.value)


def test_one_that_is_worse_than_the_champion_is_refused(good: dict[str, Any], poor: dict[str, Any]) -> None:
    version = mlflow.register_model(good["model_uri"], "gate-champion").version
    mlflow.MlflowClient().set_registered_model_alias("gate-champion", "champion", version)
    with pytest.raises(GateError, match=r"of champion version 1 on 450 rows: worse by more than the margin of 0\.02"):
        _evaluate(poor, "gate-champion", min_accuracy=0.0)
    evidence = _evaluate(good, "gate-champion")
    assert (evidence["champion"], evidence["difference"]) == ("version 1", 0.0)


def test_a_model_that_is_isolated_is_refused_everywhere_until_it_is_released(
    good: dict[str, Any], mlflow_uri: str
) -> None:
    registry = MlflowRegistry(mlflow_uri)
    version = registry.register("gate-isolated", good["model_uri"], "digits-1")
    registry.forbid(good["model_uri"], "gate-isolated", version, "it answers NaN")
    for uri in (good["model_uri"], f"models:/gate-isolated/{version}"):
        with pytest.raises(GateError, match="is isolated: it answers NaN; run 'bulkhead unisolate'"):
            _evaluate({**good, "model_uri": uri}, "gate-elsewhere")
    registry.allow(good["model_uri"], "gate-isolated", version)
    assert _evaluate(good, "gate-elsewhere")["accuracy"] >= 0.97


def test_other_data_than_it_was_trained_on_is_refused(good: dict[str, Any]) -> None:
    with pytest.raises(GateError, match=r"data hash .* is not the one trained on, 000000000000: train again"):
        _evaluate(good, "gate-data", data_hash="0" * 64)


def test_defective_data_is_refused(good: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits.load()
    data.train_images[0, 0] = 99.0
    monkeypatch.setattr(digits, "load", lambda: data)
    with pytest.raises(GateError, match=r"data checks failed: .*pixel_00: saw \[99\.0\]"):
        _evaluate(good, "gate-defect")


def test_an_accuracy_that_is_not_a_number_is_refused(good: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkhead.gpu_tasks.evaluate._correct", lambda *_: np.array([np.nan]))
    with pytest.raises(GateError, match="accuracy nan"):
        _evaluate(good, "gate-nan")


# The bound


def test_it_is_the_data_that_have_to_show_that_the_margin_is_kept_and_not_the_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On few images a difference within the margin may as well be beyond it."""
    champion = np.arange(100) >= 2  # 98 of 100, as the candidate, and wrong about others
    candidate = np.arange(100) < 98
    answers = iter([candidate, champion, candidate, champion])
    monkeypatch.setattr(module, "_correct", lambda *_: next(answers))
    monkeypatch.setattr(module, "_champion", lambda *_: SimpleNamespace(version="1", source="models:/m-1"))
    monkeypatch.setattr(mlflow, "pyfunc", SimpleNamespace(load_model=lambda *_: None))
    with pytest.raises(
        GateError, match=r"too little data to tell whether it keeps the margin of 0\.02 \(difference \+0"
    ):
        module._compare("models:/m-2", "digits", None, 0.9, 0.02)
    assert module._compare("models:/m-2", "digits", None, 0.9, 0.08)["difference"] == 0
