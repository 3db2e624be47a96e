"""The gate, on real models of a real MLflow server: the demo's, and one of another team's."""

from datetime import UTC, datetime, timedelta
from typing import Any

import mlflow
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from bulkhead.gate_overrides import OVERRIDE_TAG, override
from bulkhead.gpu_tasks import digits
from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.evaluate import evaluate
from bulkhead.gpu_tasks.gate import answers, cost
from bulkhead.gpu_tasks.gate.request import GateRequest
from bulkhead.gpu_tasks.train import train
from bulkhead.registries.mlflow import MlflowRegistry
from tests import team

DIGITS: dict[str, Any] = {
    "data": "bulkhead.gpu_tasks.digits:holdout",
    "target": "label",
    "metrics": {"accuracy_score": {"at_least": 0.97, "margin": 0.02}},
    "checks": "bulkhead.gpu_tasks.data_checks:digits_suite",
}


@pytest.fixture(scope="module")
def good(mlflow_uri: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(mlflow_uri)
    return dict(train(seed=0, epochs=12, channels=16, fault="none"))


@pytest.fixture(scope="module")
def poor(mlflow_uri: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(mlflow_uri)
    return dict(train(seed=0, epochs=2, channels=1, fault="none"))


def _evaluate(trained: dict[str, Any], model_name: str, **more: Any) -> dict[str, Any]:
    request = GateRequest.model_validate({**DIGITS, "model_name": model_name, **more})
    return dict(evaluate(trained["model_uri"], request))


def _tags(trained: dict[str, Any]) -> dict[str, str]:
    return dict(mlflow.MlflowClient().get_run(trained["run_id"]).data.tags)


def test_a_good_first_model_passes_and_the_evidence_is_kept(good: dict[str, Any]) -> None:
    evidence = _evaluate(good, "gate-first")
    assert evidence["accuracy_score"] == pytest.approx(good["accuracy"], abs=1e-4)
    assert evidence["data_checks"] == 3 + digits.PIXELS
    assert "first model" in evidence["champion"]
    assert (evidence["run_id"], evidence["experiment_id"]) == (good["run_id"], good["experiment_id"])
    assert _tags(good)["bulkhead.gate"] == "passed"
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(good["run_id"])}
    assert {"data_checks.json", "data_docs.html", "gate.html", "gate.json"} <= names
    page = mlflow.artifacts.load_text(f"runs:/{good['run_id']}/gate.html")
    assert "Confusion: rows by" in page


def test_a_poor_model_is_refused_with_the_numbers_in_mlflow_too(poor: dict[str, Any]) -> None:
    with pytest.raises(GateError, match=r"accuracy_score is 0\.\d+ on 450 rows, under at_least 0\.97") as caught:
        _evaluate(poor, "gate-poor")
    tags = _tags(poor)
    assert tags["bulkhead.gate"] == "refused"
    assert tags["bulkhead.gate.reason"] == str(caught.value)


def test_one_that_is_worse_than_the_champion_is_refused(good: dict[str, Any], poor: dict[str, Any]) -> None:
    version = mlflow.register_model(good["model_uri"], "gate-champion").version
    mlflow.MlflowClient().set_registered_model_alias("gate-champion", "champion", version)
    with pytest.raises(GateError, match=r"of champion version 1 on 450 rows: worse by more than the margin of 0\.02"):
        _evaluate(poor, "gate-champion", metrics={"accuracy_score": {"margin": 0.02}})
    evidence = _evaluate(good, "gate-champion")
    assert (evidence["champion"], evidence["accuracy_score_difference"]) == ("version 1", 0.0)


def test_a_person_may_let_a_refused_model_pass_for_a_time(poor: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    request = GateRequest.model_validate({**DIGITS, "model_name": "gate-override"})
    word = override("cli: ada", "the holdout is from before the recall", now, now + timedelta(hours=1))
    evidence = evaluate(poor["model_uri"], request, word)
    assert evidence["gate_override"].startswith("cli: ada lets it pass until ")
    assert evidence["overridden"].startswith("accuracy_score is 0.")
    assert _tags(poor)["bulkhead.gate"] == "overridden"
    expired = word.model_copy(update={"at": now - timedelta(hours=2), "until": now - timedelta(hours=1)})
    with pytest.raises(GateError, match=r"accuracy_score is .*; an override has expired \(cli: ada lets it pass until"):
        evaluate(poor["model_uri"], request, expired)


def test_a_tag_that_a_training_has_written_lets_nothing_pass(poor: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    word = override("a job", "trust me", now, now + timedelta(hours=1))
    model_id = poor["model_uri"].removeprefix("models:/")
    mlflow.MlflowClient().set_logged_model_tags(model_id, {OVERRIDE_TAG: word.model_dump_json()})
    with pytest.raises(GateError, match="accuracy_score is"):
        _evaluate(poor, "gate-forged")


def test_a_first_model_may_need_a_persons_word(good: dict[str, Any]) -> None:
    with pytest.raises(GateError, match=r"is approved by a person: bulkhead gate override models:/m-\w+ --reason TEXT"):
        _evaluate(good, "gate-approve", first="approve")
    now = datetime.now(UTC)
    request = GateRequest.model_validate({**DIGITS, "model_name": "gate-approve", "first": "approve"})
    evidence = evaluate(good["model_uri"], request, override("ada", "looked at it", now, now + timedelta(hours=1)))
    assert "no champion to compare with" in evidence["overridden"]


def test_where_the_first_model_is_refused_it_is_not_asked_at_all(
    good: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "ask", None)
    with pytest.raises(GateError, match="gate-refuse has no champion to compare with"):
        _evaluate(good, "gate-refuse", first="refuse")


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
    assert _evaluate(good, "gate-elsewhere")["accuracy_score"] >= 0.97


def test_data_of_another_schema_than_the_model_takes_are_refused(
    good: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = digits.holdout().drop(columns=["pixel_63"])
    monkeypatch.setattr(digits, "holdout", lambda: frame)
    with pytest.raises(GateError, match=r"data checks failed: .*expect_table_columns_to_match_set on table"):
        _evaluate(good, "gate-schema")
    with pytest.raises(GateError, match=r"candidate does not answer these data: MlflowException: "):
        _evaluate(good, "gate-schema", checks=None)


# Another team's


@pytest.fixture(scope="module")
def churn(mlflow_uri: str) -> dict[str, str]:
    """A pipeline of scikit-learn's that says which customers leave; logged as anybody would."""
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.set_experiment("churn")
    customers = team.holdout()
    features = customers.drop(columns=["left"])
    encoded = make_column_transformer((OneHotEncoder(), ["region"]), remainder="passthrough")
    model = make_pipeline(encoded, LogisticRegression(max_iter=1000, class_weight="balanced"))
    model.fit(features, customers["left"])
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(model, name="model", input_example=features.head(3), pip_requirements=[])
    version = mlflow.register_model(logged.model_uri, "churn").version
    mlflow.MlflowClient().set_registered_model_alias("churn", "champion", version)
    return {"model_uri": logged.model_uri}


def test_a_table_with_metrics_and_slices_of_ones_own(churn: dict[str, str]) -> None:
    asked = {
        "data": "tests.team:holdout",
        "target": "left",
        "metrics": {
            "f1_score": {"at_least": 0.3, "margin": 0.1},
            "roc_auc": {"at_least": 0.5},
            "tests.team:cost": {"margin": 0.3, "greater_is_better": False},
        },
        "slices": ["tests.team:by_age"],
        "least_rows": 75,
        "checks": "tests.team:suite",
    }
    evidence = dict(evaluate("models:/churn/1", GateRequest.model_validate({"model_name": "churn", **asked})))
    assert evidence["champion"] == "version 1" and evidence["cost_difference"] == 0
    assert evidence["slices_too_small"] == 1
    assert 0.5 <= evidence["roc_auc"] <= 1


def test_the_signature_checks_the_data_of_who_gives_no_suite(
    churn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame: pd.DataFrame = team.holdout().rename(columns={"spend": "spent"})
    monkeypatch.setattr(team, "holdout", lambda: frame)
    asked = {"data": "tests.team:holdout", "target": "left", "metrics": {"accuracy_score": {"margin": 0.1}}}
    with pytest.raises(GateError, match=r"data checks failed: .*expect_column_to_exist on spend"):
        evaluate(churn["model_uri"], GateRequest.model_validate({"model_name": "churn", **asked}))


def test_what_it_costs_is_measured_in_turns_with_the_champion(
    churn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "_SECONDS", 0.0)  # so many rounds as it takes, and no more
    limits = {"at_most_times": 3}
    asked = {
        "data": "tests.team:holdout",
        "target": "left",
        "metrics": {"accuracy_score": {"margin": 0.1}},
        "cost": dict.fromkeys(("latency_median_ms", "memory_mib", "size_mib"), limits),
        "batch_sizes": [1, 64],
    }
    evidence = dict(evaluate("models:/churn/1", GateRequest.model_validate({"model_name": "churn", **asked})))
    for name in ("latency_median_ms_at_1", "latency_median_ms_at_64", "memory_mib", "size_mib"):
        assert evidence[name] > 0 and evidence[f"champion_{name}"] > 0
    asked["cost"] = {"memory_mib": {"at_most": 10}}
    with pytest.raises(GateError, match=r"^memory_mib is \d+(\.\d)?, over at_most 10$"):
        evaluate("models:/churn/1", GateRequest.model_validate({"model_name": "churn", **asked}))


# Models that answer in words, with lists, and with what comes next


def _logged(mlflow_uri: str, model: Any, example: Any) -> str:
    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.set_experiment("words")
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(name="model", python_model=model, input_example=example, pip_requirements=[])
    return str(info.model_uri)


QUESTIONS = pd.DataFrame({"question": [f"question {number}" for number in range(120)]})


def test_a_model_that_answers_in_words(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answering(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return [one.replace("question", "answer") for one in model_input["question"]]

    frame = QUESTIONS.assign(answer=[f"answer {number if number % 10 else 0}" for number in range(120)])
    monkeypatch.setattr(team, "holdout", lambda: frame)
    uri = _logged(mlflow_uri, Answering(), QUESTIONS.head(2))
    asked = {"model_name": "words", "data": "tests.team:holdout", "target": "answer"}
    request = GateRequest.model_validate({**asked, "metrics": {"exact_match": {"at_least": 0.9}}})
    assert evaluate(uri, request)["exact_match"] == pytest.approx(109 / 120)


def test_a_model_that_finds_documents_against_one_that_finds_fewer(
    mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finding(mlflow.pyfunc.PythonModel):
        def __init__(self, knows: int) -> None:
            self.knows = knows

        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            numbers = [int(one.split()[1]) for one in model_input["question"]]
            return pd.DataFrame({"found": [[one if one % 10 < self.knows else -1, -2] for one in numbers]})

    frame = QUESTIONS.assign(relevant=[[number] for number in range(120)])
    monkeypatch.setattr(team, "holdout", lambda: frame)
    poor, good = (_logged(mlflow_uri, Finding(knows), QUESTIONS.head(2)) for knows in (4, 9))
    version = mlflow.register_model(good, "finding").version
    mlflow.MlflowClient().set_registered_model_alias("finding", "champion", version)
    asked = {"model_name": "finding", "data": "tests.team:holdout", "target": "relevant"}
    request = GateRequest.model_validate({**asked, "metrics": {"recall_at_2": {"margin": 0.1}}})
    assert evaluate(good, request)["recall_at_2"] == pytest.approx(0.9)
    with pytest.raises(GateError, match=r"^recall_at_2 0\.4 against 0\.9 of champion version 1 on 120 rows: worse "):
        evaluate(poor, request)
