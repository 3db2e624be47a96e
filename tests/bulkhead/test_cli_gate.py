"""``bulkhead gate override`` over a real ledger and a real MLflow."""

import json
from pathlib import Path

import mlflow
import pytest
from typer.testing import CliRunner

from bulkhead.cli import app
from bulkhead.control import Control
from bulkhead.gate_overrides import OVERRIDE_TAG
from bulkhead.settings import CONFIG_VARIABLE, Settings

runner = CliRunner()


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


@pytest.fixture
def control(tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Control:
    settings = Settings(home=tmp_path / "home", mlflow_tracking_uri=mlflow_uri)
    (tmp_path / "config.yaml").write_text(settings.model_dump_json())
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config.yaml"))
    return Control(settings)


@pytest.fixture(scope="module")
def logged(mlflow_uri: str) -> str:
    mlflow.set_tracking_uri(mlflow_uri)
    with mlflow.start_run():
        return str(mlflow.pyfunc.log_model(name="model", python_model=Echo(), pip_requirements=[]).model_uri)


def test_a_logged_model_is_recorded_and_tagged(control: Control, logged: str) -> None:
    done = runner.invoke(app, ["gate", "override", logged, "--reason", "the feed was late", "--until", "2099-01-01"])
    assert done.exit_code == 2 and "give a time within 30 days from now" in done.output.replace("\n", " ")
    done = runner.invoke(app, ["gate", "override", logged, "--reason", "the feed was late"])
    assert done.exit_code == 0 and "lets it pass until" in done.output
    word = control.ledger.events.gate_override(logged)
    assert word is not None and (word.reason, word.by.partition(":")[0]) == ("the feed was late", "cli")
    tags = mlflow.MlflowClient().get_logged_model(logged.removeprefix("models:/")).tags
    assert json.loads(tags[OVERRIDE_TAG])["reason"] == "the feed was late"


def test_a_registered_version_is_let_pass_under_both_of_its_names(control: Control, logged: str) -> None:
    version = mlflow.register_model(logged, "cli-gate").version
    done = runner.invoke(app, ["gate", "override", "cli-gate", str(version), "--reason", "asked for"])
    assert done.exit_code == 0, done.output
    for uri in (logged, f"models:/cli-gate/{version}"):
        word = control.ledger.events.gate_override(uri)
        assert word is not None and word.reason == "asked for"
    assert OVERRIDE_TAG in mlflow.MlflowClient().get_model_version("cli-gate", version).tags


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cli-gate"], "model = 'cli-gate': give the URI of a logged model"),
        (["cli-gate", "99"], "MLflow knows no model 'cli-gate'"),
        (["models:/m-0123456789abcdef0123456789abcdef"], "MLflow knows no model"),
        (["models:/m-1", "--until", "soon"], "until = 'soon': give a time such as 2026-12-01T18:00"),
        (["models:/m-1", "--reason", " "], "reason = ' ': say why"),
    ],
)
def test_what_cannot_be_let_pass_is_told_and_nothing_is_recorded(
    control: Control, logged: str, words: list[str], message: str
) -> None:
    mlflow.register_model(logged, "cli-gate")
    done = runner.invoke(app, ["gate", "override", "--reason", "why", *words])
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
    assert control.ledger.events.select(kind="gate-override") == []
