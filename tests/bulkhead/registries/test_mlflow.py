"""A real MLflow server."""

import itertools
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import pytest

from bulkhead.errors import FencedError, NotFoundError, RefusedError, UnavailableError
from bulkhead.registries.mlflow import ISOLATED_TAG, MlflowRegistry
from tests.hostile import NASTY
from tests.ports import free_port

_numbers = itertools.count()


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


@pytest.fixture
def model() -> str:
    return f"model-{next(_numbers)}"


@pytest.fixture
def registry(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> MlflowRegistry:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowRegistry(mlflow_uri)


@pytest.fixture(scope="module")
def logged(mlflow_uri: str) -> str:
    """URI of a model that was logged."""
    mlflow.set_tracking_uri(mlflow_uri)
    with mlflow.start_run():
        return mlflow.pyfunc.log_model(name="model", python_model=Echo(), pip_requirements=[]).model_uri


def test_a_revision_is_registered_once(registry: MlflowRegistry, logged: str, model: str) -> None:
    assert registry.register(model, logged, "digits-1") == "1"
    assert registry.register(model, logged, "digits-1") == "1"
    assert registry.register(model, logged, "digits-2") == "2"


def test_registering_leaves_no_files_behind(
    registry: MlflowRegistry, logged: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reconciler runs for months."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    registry.register(model, logged, "digits-1")
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_exists_is_found_and_one_that_does_not_is_named(
    registry: MlflowRegistry, logged: str, model: str
) -> None:
    registry.register(model, logged, "digits-1")
    registry.check(model, "1")
    with pytest.raises(NotFoundError, match=f"MLflow knows no version 77 of model '{model}'"):
        registry.check(model, "77")


def test_a_model_that_does_not_exist_is_named(registry: MlflowRegistry, model: str) -> None:
    with pytest.raises(NotFoundError, match="MLflow knows no model 'models:/m-nothing'"):
        registry.register(model, "models:/m-nothing", "digits-1")


def test_the_alias_moves_is_read_back_and_goes(registry: MlflowRegistry, logged: str, model: str) -> None:
    registry.register(model, logged, "digits-1")
    registry.register(model, logged, "digits-2")
    assert registry.champion(model) is None
    for generation, version in enumerate(("1", "2", "1", None), start=1):
        registry.point(model, version, "digits", generation)
        assert registry.champion(model) == version


def test_an_older_generation_cannot_move_the_alias(registry: MlflowRegistry, logged: str, model: str) -> None:
    registry.register(model, logged, "digits-1")
    registry.register(model, logged, "digits-2")
    registry.point(model, "2", "digits", 7)
    with pytest.raises(FencedError, match="written by generation 7, this is 6"):
        registry.point(model, "1", "digits", 6)
    assert registry.champion(model) == "2"


def test_two_services_of_one_model_do_not_fence_each_other_out(
    registry: MlflowRegistry, logged: str, model: str
) -> None:
    registry.register(model, logged, "digits-1")
    registry.point(model, "1", "digits", 7)
    registry.point(model, "1", "staging", 1)
    assert registry.champion(model) == "1"


def test_a_server_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = MlflowRegistry(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError, match="MLflow does not answer about alias 'champion' of model 'digits'"):
        away.champion("digits")


def test_an_isolated_model_is_tagged_where_it_lies_and_where_it_is_registered(
    registry: MlflowRegistry, logged: str, model: str, mlflow_uri: str
) -> None:
    version, client = registry.register(model, logged, "digits-1"), mlflow.MlflowClient(mlflow_uri)
    for _ in range(2):
        registry.forbid(logged, model, version, "it answers NaN")
    assert client.get_logged_model(logged.removeprefix("models:/")).tags[ISOLATED_TAG] == "it answers NaN"
    assert client.get_model_version(model, version).tags[ISOLATED_TAG] == "it answers NaN"
    for _ in range(2):
        registry.allow(logged, model, version)
    assert ISOLATED_TAG not in client.get_logged_model(logged.removeprefix("models:/")).tags
    assert ISOLATED_TAG not in client.get_model_version(model, version).tags


def test_evidence_is_one_run_with_an_index_however_often_it_is_kept(
    registry: MlflowRegistry, model: str, mlflow_uri: str
) -> None:
    files = {"server.log": "its termination message", "status.json": "{}"}
    run = registry.keep(model, files)
    assert registry.keep(model, {"server.log": "later words"}) == run
    index = mlflow.artifacts.load_dict(f"runs:/{run}/index.json")
    assert [entry["file"] for entry in index["files"]] == ["server.log", "status.json"]
    assert mlflow.artifacts.load_text(f"runs:/{run}/server.log") == "its termination message"


def test_what_was_measured_of_a_model_is_read_in_its_latest_value(
    registry: MlflowRegistry, logged: str, model: str
) -> None:
    registry.register(model, logged, "digits-1")
    model_id, begin = logged.removeprefix("models:/"), datetime.now(UTC)
    with mlflow.start_run():
        for value in (0.8, 0.9):
            mlflow.log_metric("live_accuracy", value, model_id=model_id)
    assert registry.measured(model, "1", ["live_accuracy", "auc"], begin) == {"live_accuracy": 0.9}
    assert registry.measured(model, "1", ["auc"], begin) == {}
    assert registry.measured(model, "1", ["live_accuracy"], datetime.now(UTC) + timedelta(minutes=1)) == {}
    with pytest.raises(NotFoundError):
        registry.measured(model, "77", ["live_accuracy"], begin)


@pytest.mark.parametrize("name", ["team's digits", "a\"b'c", "dégits `x`", "m" * 250])
def test_a_models_name_may_have_any_letters(registry: MlflowRegistry, logged: str, model: str, name: str) -> None:
    name = f"{name[: 250 - len(model)]}{model}"
    version = registry.register(name, logged, f"{model}-1")
    assert registry.register(name, logged, f"{model}-1") == version
    registry.point(name, version, "digits", 1)
    assert registry.champion(name) == version


def test_a_name_that_mlflow_does_not_take_is_refused_in_its_words(
    registry: MlflowRegistry, logged: str, model: str
) -> None:
    with pytest.raises(RefusedError, match=r"MLflow refuses model .*/"):
        registry.register("a/b", logged, f"{model}-1")


def test_what_strangers_wrote_as_a_generation_is_none(
    registry: MlflowRegistry, logged: str, model: str, mlflow_uri: str
) -> None:
    registry.register(model, logged, "digits-1")
    for text in ("yesterday", "-1", "9" * 400, "\u0663"):
        mlflow.MlflowClient(mlflow_uri).set_registered_model_tag(model, "bulkhead.generation.digits", text)
        registry.point(model, "1", "digits", 1)
        assert registry.champion(model) == "1"


@pytest.mark.parametrize("text", NASTY)
def test_any_reason_is_kept_as_a_tag_and_any_text_as_evidence(
    registry: MlflowRegistry, logged: str, model: str, mlflow_uri: str, text: str
) -> None:
    version = registry.register(model, logged, "digits-1")
    registry.forbid(logged, model, version, text)
    registry.allow(logged, model, version)
    run = registry.keep(f"{model}-{abs(hash(text))}", {"server.log": text})
    assert mlflow.artifacts.load_dict(f"runs:/{run}/index.json")["files"][0]["file"] == "server.log"
