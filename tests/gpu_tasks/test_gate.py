"""The gate's way through MLflow, without a model to train: see test_evaluate.py for those on real ones."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from bulkhead.gate_overrides import GateOverride, override
from bulkhead.gpu_tasks import evaluate as module
from bulkhead.gpu_tasks.errors import ConfigError, GateError, VoidError
from bulkhead.gpu_tasks.gate import checks, proportions
from bulkhead.gpu_tasks.gate.model_source import source_of
from bulkhead.gpu_tasks.gate.request import GateRequest
from tests import team
from tests.fixtures.nvml import Library

ASKED: dict[str, Any] = {
    "model_name": "churn",
    "data": "tests.team:holdout",
    "target": "left",
    "metrics": {"accuracy_score": {"at_least": 0.97, "margin": 0.02}},
    "checks": "tests.team:suite",
}
LEFT = team.holdout()["left"].to_numpy()


class Client:
    """A client of MLflow that keeps what it is told.

    Attributes: tags and metrics (of the run "r"), files (by name), model_tags (by what was asked for), run_id (of every
    model), champion (or an error), asked, source (of the data that the run
    has logged, as MLflow has it).
    """

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.metrics: dict[str, float] = {}
        self.files: dict[str, Any] = {}
        self.model_tags: dict[tuple[str, ...], dict[str, str]] = {}
        self.run_id: str | None = "r"
        self.champion: Any = None
        self.asked: list[tuple[str, ...]] = []
        self.source = "{}"

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        assert run_id == "r"
        self.tags[name] = value

    def log_metric(self, run_id: str, name: str, value: float) -> None:
        assert run_id == "r"
        self.metrics[name] = value

    def get_run(self, run_id: str) -> Any:
        assert run_id in ("r", "0af9")
        data = SimpleNamespace(name="customers", digest="d7", source=self.source)
        used = SimpleNamespace(dataset=data, tags=[])
        return SimpleNamespace(info=SimpleNamespace(experiment_id="7"), inputs=SimpleNamespace(dataset_inputs=[used]))

    def log_dict(self, run_id: str, what: Any, name: str) -> None:
        assert run_id == "r"
        self.files[name] = what

    def log_text(self, run_id: str, what: str, name: str) -> None:
        assert run_id == "r"
        self.files[name] = what

    def _model(self, *which: str) -> Any:
        self.asked.append(which)
        return SimpleNamespace(tags=self.model_tags.get(which, {}), source_run_id=self.run_id, run_id=self.run_id)

    get_logged_model = get_model_version = _model

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        self.asked.append((name, alias))
        if isinstance(self.champion, Exception):
            raise self.champion
        return self.champion


class Model:
    """A model that is wrong about the first so many customers."""

    metadata = SimpleNamespace(signature=None)

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def predict(self, features: pd.DataFrame) -> Any:
        assert "left" not in features
        return np.where(np.arange(len(features)) < self.wrong, ~LEFT, LEFT)


@pytest.fixture
def models() -> dict[str, Any]:
    """What is loaded by URI; an error is raised."""
    return {"models:/m-1": Model(12)}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, models: dict[str, Any]) -> Client:
    """Of a registry without a champion, beside data that keep every check and a model that knows 97 of 100."""
    made = Client()
    made.champion = MlflowException("no such alias", RESOURCE_DOES_NOT_EXIST)
    monkeypatch.setattr(mlflow, "MlflowClient", lambda: made)
    monkeypatch.setattr(mlflow, "pyfunc", SimpleNamespace(load_model=lambda uri: _or_raise(models[uri])))
    _checked(monkeypatch)
    return made


def _or_raise(loaded: Any) -> Any:
    if isinstance(loaded, Exception):
        raise loaded
    return loaded


def _checked(monkeypatch: pytest.MonkeyPatch, *failed: str) -> None:
    report = SimpleNamespace(details={"all": "of it"}, failed=list(failed), passed=9, page="<html>docs")
    monkeypatch.setattr(checks, "check", lambda frame, source, model, target: report)


def _evaluate(uri: str = "models:/m-1", **more: Any) -> dict[str, Any]:
    return dict(module.evaluate(uri, GateRequest.model_validate({**ASKED, **more})))


def _champion(client: Client, models: dict[str, Any], model: Any) -> None:
    client.champion = SimpleNamespace(version="7", source="models:/m-7")
    models["models:/m-7"] = model


# The command line


NOW = datetime.now(UTC)
WORD = override("ada", "mended", NOW, NOW + timedelta(hours=1))


@pytest.mark.parametrize("word", [None, WORD])
def test_the_command_line_is_what_is_evaluated(monkeypatch: pytest.MonkeyPatch, word: GateOverride | None) -> None:
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, "evaluate", lambda *words: seen.append(words))
    monkeypatch.setattr(module, "run", lambda job: job())
    request = GateRequest.model_validate(ASKED)
    more = [] if word is None else ["--override", word.model_dump_json()]
    module.main(["--model-uri", "models:/m-1", "--request", request.model_dump_json(), *more])
    assert seen == [("models:/m-1", request, word)]


@pytest.mark.parametrize("missing", ["--model-uri", "--request"])
def test_what_is_missing_is_named(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--model-uri": "models:/m-1", "--request": "{}"}
    with pytest.raises(SystemExit):
        module.main([word for name, value in given.items() if name != missing for word in (name, value)])
    said = capsys.readouterr().err
    assert f"required: {missing}" in said and said.startswith("usage: bulkhead.gpu_tasks.evaluate")


# Where models come from


@pytest.mark.parametrize(
    ("uri", "asked"),
    [("models:/m-0af9", ("m-0af9",)), ("models:/churn/12", ("churn", "12"))],
)
def test_a_model_that_is_isolated_is_refused_by_what_its_uri_is(
    client: Client, uri: str, asked: tuple[str, ...]
) -> None:
    client.model_tags[asked] = {"bulkhead.isolated": "it leaks"}
    message = f"^model {uri} is isolated: it leaks; run 'bulkhead unisolate' once that is mended$"
    with pytest.raises(GateError, match=message):
        _evaluate(uri)
    assert client.asked == [asked] and client.tags["bulkhead.gate"] == "refused"


def test_a_model_is_found_by_the_run_that_logged_it(client: Client) -> None:
    found = source_of(client, "runs:/0af9/model")
    assert (found.run_id, found.experiment_id, found.tags) == ("0af9", "7", {})
    assert client.asked == []


@pytest.mark.parametrize(
    "uri",
    [
        "models:/churn@champion",
        "models:/m-0afz",
        "runs:/0af9",
        "s3://models:/m-0af9",
        "models:/a/b/1",
        "models:/churn/12x",
    ],
)
def test_a_uri_of_another_kind_is_refused(client: Client, uri: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^model_uri = '{re.escape(uri)}': give models:/m-…, models:/NAME/VERSION or r"
    ):
        _evaluate(uri)
    assert client.asked == [] and client.tags == {}


@pytest.mark.parametrize("run_id", [None, ""])
def test_a_model_of_no_run_is_refused(client: Client, run_id: str | None) -> None:
    client.run_id = run_id
    with pytest.raises(
        ConfigError, match=r"^model_uri = 'models:/m-1': logged outside of a run, which keeps the evidence"
    ):
        _evaluate()


def test_an_isolation_without_a_reason_is_one(client: Client) -> None:
    client.model_tags["m-1",] = {"bulkhead.isolated": ""}
    with pytest.raises(GateError, match="is isolated"):
        _evaluate()
    assert client.tags["bulkhead.gate"] == "refused"


# The whole way


def test_a_first_model_passes_with_its_evidence(client: Client) -> None:
    evidence = _evaluate()
    digest = evidence.pop("data_hash")
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert evidence == {
        "accuracy_score": 0.97,
        "champion": "none: the first model is held to limits alone",
        "model_uri": "models:/m-1",
        "run_id": "r",
        "experiment_id": "7",
        "data_checks": 9,
        "training_data": "customers@d7",
        "training_overlap": "not known: the training has logged no data that can be read; give training_data",
    }
    assert client.tags == {"bulkhead.gate": "passed"}
    assert client.metrics == {"gate_accuracy_score": 0.97}
    assert client.files["data_checks.json"] == {"all": "of it"} and client.files["data_docs.html"] == "<html>docs"
    assert (client.files["gate.json"]["passed"], client.files["gate.json"]["data_hash"]) == (True, digest)
    assert "The candidate for churn passes: " in client.files["gate.html"]
    assert client.asked == [("m-1",), ("churn", "champion")]


def test_a_first_model_is_refused_where_the_author_says_so(client: Client) -> None:
    message = r"^churn has no champion to compare with: give one the alias 'champion', or say first='allow'$"
    with pytest.raises(GateError, match=message):
        _evaluate(first="refuse")
    assert client.tags["bulkhead.gate"] == "refused"


def test_a_model_is_held_against_the_champion(client: Client, models: dict[str, Any]) -> None:
    _champion(client, models, Model(11))
    evidence = _evaluate()
    low, _ = proportions.interval(0, 1, 400, 0.04)
    p = 1.25 * proportions.p_worse_by_margin(0, 1, 400, 0.02)
    assert {name: evidence[name] for name in ("accuracy_score", "champion", "champion_accuracy_score")} == {
        "accuracy_score": 0.97,
        "champion": "version 7",
        "champion_accuracy_score": 0.9725,
    }
    assert (evidence["accuracy_score_difference_low"], evidence["accuracy_score_p_worse_by_margin"]) == (low, p)
    assert client.metrics == {f"gate_{name}": value for name, value in evidence.items() if isinstance(value, float)}


def test_one_that_cannot_be_told_from_worse_is_refused_with_the_rows_that_would_do(
    client: Client, models: dict[str, Any]
) -> None:
    _champion(client, models, Model(4))
    message = (
        r"^accuracy_score 0\.97 against 0\.99 of champion version 7 on 400 rows: too little data to tell whether it "
        r"keeps the margin of 0\.02 \(difference -0\.0200, between -0\.\d+ and -0\.\d+\); about \d+ rows of "
        r"data would do for a model that is as good as the champion$"
    )
    with pytest.raises(GateError, match=message) as refused:
        _evaluate()
    assert client.tags == {"bulkhead.gate": "refused", "bulkhead.gate.reason": str(refused.value)}
    assert client.metrics["gate_accuracy_score"] == 0.97 and client.files["gate.json"]["passed"] is False


def test_a_model_that_is_worse_is_refused_as_such(client: Client, models: dict[str, Any]) -> None:
    models["models:/m-1"] = Model(80)
    _champion(client, models, Model(4))
    with pytest.raises(GateError, match=r"champion version 7 on 400 rows: worse by more than the margin of 0\.02 \("):
        _evaluate(metrics={"accuracy_score": {"margin": 0.02}})


def test_a_limit_that_is_not_kept_refuses(client: Client, models: dict[str, Any]) -> None:
    models["models:/m-1"] = Model(16)
    with pytest.raises(GateError, match=r"^accuracy_score is 0\.96 on 400 rows, under at_least 0\.97$"):
        _evaluate()


def test_every_check_that_failed_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _checked(monkeypatch, "one", "another")
    with pytest.raises(GateError, match=r"^data checks failed: one; another$"):
        _evaluate()
    # for whoever has to find out
    assert client.files == {"data_checks.json": {"all": "of it"}, "data_docs.html": "<html>docs"}


def test_a_champion_that_no_longer_loads_is_told_with_the_remedy(client: Client, models: dict[str, Any]) -> None:
    _champion(client, models, ModuleNotFoundError("No module named 'xgboost'"))
    message = (
        r"^champion version 7 does not load: ModuleNotFoundError: No module named 'xgboost'; mend it, give the alias"
    )
    with pytest.raises(GateError, match=message):
        _evaluate()


def test_or_held_to_its_limits_alone_where_the_author_says_so(client: Client, models: dict[str, Any]) -> None:
    _champion(client, models, ModuleNotFoundError("No module named 'xgboost'"))
    evidence = _evaluate(lost_champion="first")
    assert evidence["champion"].startswith("none: champion version 7 does not load: ModuleNotFoundError: No module")
    assert "keeps every limit, and champion version 7 does not load: " in client.files["gate.html"]
    assert client.files["gate.json"]["champion_lost"].startswith("champion version 7 does not load")
    with pytest.raises(GateError, match="is approved by a person"):
        _evaluate(lost_champion="first", first="approve")
    with pytest.raises(GateError, match=r"^champion version 7 does not load"):
        _evaluate(lost_champion="first", first="refuse")


def test_costs_are_evidence_and_refuse(client: Client, models: dict[str, Any]) -> None:
    _champion(client, models, Model(12))
    models["models:/m-1"].metadata = SimpleNamespace(signature=None, model_size_bytes=3 * 2**20)
    models["models:/m-7"].metadata = SimpleNamespace(signature=None, model_size_bytes=2 * 2**20)
    asked: dict[str, Any] = {"size_mib": {"at_most_times": 2}, "latency_p95_ms": {"at_most": 1000}}
    evidence = _evaluate(cost=asked, batch_sizes=[400])
    assert (evidence["size_mib"], evidence["champion_size_mib"]) == (3, 2)
    assert 0 < evidence["latency_p95_ms_at_400"] < 1000
    assert client.metrics["gate_size_mib"] == 3 and len(client.files["gate.json"]["costs"]) == 2
    page = client.files["gate.html"]
    assert "Costs and their limits" in page and "Latency: share of requests" in page
    asked["size_mib"] = {"at_most_times": 1.2}
    with pytest.raises(GateError, match=r"^size_mib is 3, 1\.5 times the 2 of champion version 7, over at_most_ti"):
        _evaluate(cost=asked, batch_sizes=[400])
    word = override("ada", "it is worth it", NOW, NOW + timedelta(hours=1))
    request = GateRequest.model_validate({**ASKED, "cost": {"size_mib": {"at_most": 1}}})
    assert module.evaluate("models:/m-1", request, word)["overridden"] == "size_mib is 3, over at_most 1"


def test_rows_that_were_trained_on_are_no_evidence_even_by_a_persons_word(client: Client, tmp_path: Path) -> None:
    team.holdout().to_csv(tmp_path / "train.csv", index=False)
    client.source = json.dumps({"uri": str(tmp_path / "train.csv")})
    word = override("ada", "never mind", NOW, NOW + timedelta(hours=1))
    with pytest.raises(GateError, match=r"^400 of 400 rows of data = .* \(customers@d7\): it may know them by heart"):
        module.evaluate("models:/m-1", GateRequest.model_validate(ASKED), word)
    assert client.tags["bulkhead.gate"] == "refused" and "gate.json" not in client.files


def test_a_device_that_fails_meanwhile_is_no_verdict_on_the_model(
    client: Client, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library()
    monkeypatch.setattr("bulkhead.health.sources.nvml.import_module", lambda name: library)

    class Failing(Model):
        def predict(self, features: pd.DataFrame) -> Any:
            library.events = [SimpleNamespace(device=1, eventData=48)]
            return super().predict(features)

    models["models:/m-1"] = Failing(200)
    with pytest.raises(VoidError, match=r"^the evaluation is void: GPU-1 has reported Xid 48 \("):
        _evaluate()
    assert client.tags["bulkhead.gate"] == "void" and "Xid 48" in client.tags["bulkhead.gate.reason"]
    assert client.metrics == {}


def test_data_that_cannot_be_used_are_no_verdict_on_the_model(client: Client) -> None:
    with pytest.raises(ConfigError, match="the data have no such column"):
        _evaluate(target="churned")
    assert client.tags == {}


@pytest.mark.parametrize("code", [RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE])
def test_a_registry_without_the_model_or_its_alias_has_no_champion(client: Client, code: int) -> None:
    client.champion = MlflowException("no", code)
    assert _evaluate()["champion"].startswith("none")


def test_a_registry_that_does_not_answer_is_no_missing_champion(client: Client) -> None:
    client.champion = MlflowException("down", INTERNAL_ERROR)
    with pytest.raises(MlflowException, match="down"):
        _evaluate()
