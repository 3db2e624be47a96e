"""The gate's decisions, without a model to train: see test_evaluate.py for those on real ones."""

from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from bulkhead.gpu_tasks import data_checks, digits
from bulkhead.gpu_tasks import evaluate as module
from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.gate import proportions

REQUIRED = ["--model-uri", "models:/m-1", "--run-id", "r", "--data-hash", "h", "--model-name", "digits"]
DATA = SimpleNamespace(data_hash="h" * 64)


class Client:
    """A client of MLflow that keeps what it is told.

    Attributes: tags and metrics (of the run "r"), files (by name), model_tags (by what was asked for), champion (or an
    error), asked.
    """

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.metrics: dict[str, float] = {}
        self.files: dict[str, Any] = {}
        self.model_tags: dict[tuple[str, ...], dict[str, str]] = {}
        self.champion: Any = None
        self.asked: list[tuple[str, ...]] = []

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        assert run_id == "r"
        self.tags[name] = value

    def log_metric(self, run_id: str, name: str, value: float) -> None:
        assert run_id == "r"
        self.metrics[name] = value

    def get_run(self, run_id: str) -> Any:
        assert run_id == "r"
        return SimpleNamespace(info=SimpleNamespace(experiment_id="7"))

    def log_dict(self, run_id: str, what: Any, name: str) -> None:
        assert run_id == "r"
        self.files[name] = what

    def _model(self, *which: str) -> Any:
        self.asked.append(which)
        return SimpleNamespace(tags=self.model_tags.get(which, {}))

    get_logged_model = get_model_version = _model

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        self.asked.append((name, alias))
        if isinstance(self.champion, Exception):
            raise self.champion
        return self.champion


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """Of a registry without a champion, beside data that keep every check and a model that knows 97 of 100."""
    made = Client()
    made.champion = MlflowException("no such alias", RESOURCE_DOES_NOT_EXIST)
    monkeypatch.setattr(mlflow, "MlflowClient", lambda: made)
    monkeypatch.setattr(mlflow, "pyfunc", SimpleNamespace(load_model=lambda uri: uri))
    monkeypatch.setattr(digits, "load", lambda: DATA)
    _checked(monkeypatch)
    _answers(monkeypatch, {"models:/m-1": _right(97)})
    return made


def _checked(monkeypatch: pytest.MonkeyPatch, *failed: str) -> None:
    report = SimpleNamespace(details={"all": "of it"}, failed=list(failed), passed=9)
    monkeypatch.setattr(data_checks, "check_digits", lambda data: report if data is DATA else None)


def _right(count: int) -> Any:
    return np.arange(100) < count


def _answers(monkeypatch: pytest.MonkeyPatch, by_uri: dict[str, Any]) -> None:
    monkeypatch.setattr(module, "_correct", lambda model, data: by_uri[model] if data is DATA else None)


def _evaluate(**more: Any) -> dict[str, Any]:
    asked = {"model_uri": "models:/m-1", "run_id": "r", "data_hash": "h" * 64, "model_name": "digits"}
    return dict(module.evaluate(**{**asked, "min_accuracy": 0.97, "margin": 0.02, **more}))


# The command line


def _parsed(monkeypatch: pytest.MonkeyPatch, *more: str) -> dict[str, Any]:
    """What is evaluated of these words."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(module, "evaluate", lambda **words: seen.append(words))
    monkeypatch.setattr(module, "run", lambda job: job())
    module.main([*REQUIRED, *more])
    return seen[0]


def test_the_command_line_is_what_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    required = {"model_uri": "models:/m-1", "run_id": "r", "data_hash": "h", "model_name": "digits"}
    assert _parsed(monkeypatch) == {**required, "min_accuracy": 0.97, "margin": 0.02}
    message = _parsed(monkeypatch, "--min-accuracy", "1", "--margin", "0")
    assert (message["min_accuracy"], message["margin"]) == (1.0, 0.0)


@pytest.mark.parametrize("missing", range(0, len(REQUIRED), 2))
def test_what_is_missing_is_named(missing: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.main(REQUIRED[:missing] + REQUIRED[missing + 2 :])
    said = capsys.readouterr().err
    assert f"required: {REQUIRED[missing]}" in said and said.startswith("usage: bulkhead.gpu_tasks.evaluate")


def test_the_options_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for message in (
        "--run-id RUN_ID MLflow run of the training --data-hash",
        "--data-hash DATA_HASH hash of the data that it was trained on --model-name",
        "--model-name MODEL_NAME registered model, whose champion is the rival --min-accuracy",
        "--margin MARGIN how much worse than the champion is still fine",
    ):
        assert message in said


@pytest.mark.parametrize("option", ["--min-accuracy", "--margin"])
@pytest.mark.parametrize("value", ["1.01", "-0.01", "nan"])
def test_what_is_no_share_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.main([*REQUIRED, f"{option}={value}"])
    assert f"argument {option}: {value}: give a share from 0 to 1" in capsys.readouterr().err


# Isolated models


@pytest.mark.parametrize(
    ("uri", "asked"),
    [
        ("models:/m-0af9", [("m-0af9",)]),
        ("models:/digits/12", [("digits", "12")]),
        ("models:/digits@champion", []),
        ("models:/m-0afz", []),
        ("runs:/0af9/model", []),
        ("s3://models:/m-0af9", []),
        ("models:/a/b/1", []),
        ("models:/digits/12x", []),
    ],
)
def test_a_model_is_asked_for_by_what_its_uri_is(client: Client, uri: str, asked: list[tuple[str, ...]]) -> None:
    module.refuse_isolated(client, uri)
    assert client.asked == asked
    for which in asked:
        client.model_tags[which] = {"bulkhead.isolated": "it leaks"}
        message = f"^model {uri} is isolated: it leaks; run 'bulkhead unisolate' once that is mended$"
        with pytest.raises(GateError, match=message):
            module.refuse_isolated(client, uri)


def test_an_isolation_without_a_reason_is_one(client: Client) -> None:
    client.model_tags["m-1",] = {"bulkhead.isolated": ""}
    with pytest.raises(GateError, match="is isolated"):
        _evaluate()
    assert client.tags["bulkhead.gate"] == "refused"


# The whole way


def test_a_first_model_passes_with_its_evidence(client: Client) -> None:
    assert _evaluate() == {
        "accuracy": 0.97,
        "champion": "none: the first model is held to the threshold alone",
        "model_uri": "models:/m-1",
        "run_id": "r",
        "experiment_id": "7",
        "data_checks": 9,
        "data_hash": "h" * 64,
    }
    assert client.tags == {"bulkhead.gate": "passed"}
    assert client.metrics == {"gate_accuracy": 0.97}
    assert client.files == {"data_checks.json": {"all": "of it"}}
    assert client.asked == [("m-1",), ("digits", "champion")]


def test_a_model_is_held_against_the_champion(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.champion = SimpleNamespace(version="7", source="models:/m-7")
    _answers(monkeypatch, {"models:/m-1": _right(98), "models:/m-7": _right(99)})
    evidence = _evaluate(margin=0.06)
    assert {name: evidence[name] for name in ("accuracy", "champion", "champion_accuracy")} == {
        "accuracy": 0.98,
        "champion": "version 7",
        "champion_accuracy": 0.99,
    }
    assert evidence["difference"] == pytest.approx(-0.01)
    low, _ = proportions.interval(0, 1, 100, 0.05)
    p = proportions.p_worse_by_margin(0, 1, 100, 0.06)
    assert (evidence["difference_low"], evidence["p_worse_by_margin"]) == (low, p)
    assert client.metrics == {
        "gate_accuracy": 0.98,
        "gate_champion_accuracy": 0.99,
        "gate_difference": evidence["difference"],
        "gate_difference_low": low,
        "gate_p_worse_by_margin": p,
    }
    message = (
        r"^accuracy_score 0\.98 against 0\.99 of champion version 7 on 100 rows: too little data to tell whether it "
        r"keeps the margin of 0\.02 \(difference -0\.0100, between -0\.0436 and \+0\.0166\); about 812 rows of "
        r"data would do for a model that is as good as the champion$"
    )
    with pytest.raises(GateError, match=message) as refused:
        _evaluate(margin=0.02)
    assert client.tags == {"bulkhead.gate": "refused", "bulkhead.gate.reason": str(refused.value)}


def test_a_model_that_is_worse_is_refused_as_such(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.champion = SimpleNamespace(version="7", source="models:/m-7")
    _answers(monkeypatch, {"models:/m-1": _right(80), "models:/m-7": _right(99)})
    with pytest.raises(GateError, match=r"champion version 7 on 100 rows: worse by more than the margin of 0\.02 \("):
        _evaluate(min_accuracy=0.5)
    assert client.tags["bulkhead.gate"] == "refused"


@pytest.mark.parametrize(
    ("right", "more", "message"),
    [
        (96, {}, r"^accuracy 0\.9600 on 100 test images is under min_accuracy 0\.97$"),
        (99, {"data_hash": "0" * 64}, r"^data hash hhhhhhhhhhhh is not the one trained on, 000000000000: train again$"),
    ],
)
def test_it_says_why_it_refuses(
    client: Client, monkeypatch: pytest.MonkeyPatch, right: int, more: dict[str, Any], message: str
) -> None:
    _answers(monkeypatch, {"models:/m-1": _right(right)})
    with pytest.raises(GateError, match=message) as refused:
        _evaluate(**more)
    assert client.tags == {"bulkhead.gate": "refused", "bulkhead.gate.reason": str(refused.value)}
    assert client.metrics == {}


def test_every_check_that_failed_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _checked(monkeypatch, "one", "another")
    with pytest.raises(GateError, match=r"^data checks failed: one; another$"):
        _evaluate()
    assert client.files == {"data_checks.json": {"all": "of it"}}  # for whoever has to find out


@pytest.mark.parametrize("code", [RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE])
def test_a_registry_without_the_model_or_its_alias_has_no_champion(client: Client, code: int) -> None:
    client.champion = MlflowException("no", code)
    assert _evaluate()["champion"].startswith("none")


def test_a_registry_that_does_not_answer_is_no_missing_champion(client: Client) -> None:
    client.champion = MlflowException("down", INTERNAL_ERROR)
    with pytest.raises(MlflowException, match="down"):
        _evaluate()


def test_what_is_right_is_told_image_by_image() -> None:
    data = SimpleNamespace(test_images=[1, 2, 3], test_labels=np.array([1, 2, 4]))
    seen = module._correct(SimpleNamespace(predict=lambda images: list(images)), data)
    assert seen.tolist() == [True, True, False]
