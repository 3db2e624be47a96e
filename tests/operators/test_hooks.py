import json
from pathlib import Path

import pytest

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.operators.hooks import BulkheadHook, LocalRuntimeHook


def _connect(monkeypatch: pytest.MonkeyPatch, name: str, **fields: object) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


def test_without_a_connection_the_configuration_counts(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_BULKHEAD_DEFAULT")
    assert BulkheadHook().control().settings == control.settings


def test_a_connection_overrides_field_by_field(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"mlflow_tracking_uri": "http://elsewhere"}
    _connect(monkeypatch, "other", conn_type="bulkhead", password="sqlite:////tmp/x.db", extra=extra)
    settings = BulkheadHook("other").control().settings
    assert settings.mlflow_tracking_uri == "http://elsewhere"
    assert settings.ledger == "sqlite:////tmp/x.db"
    assert settings.home == control.settings.home


def test_airflows_configuration_overrides_the_file(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__BULKHEAD__MLFLOW_TRACKING_URI", "http://section")
    monkeypatch.setenv("AIRFLOW__BULKHEAD__LEDGER_URL", "sqlite:////tmp/section.db")
    monkeypatch.setenv("AIRFLOW__BULKHEAD__SIMULATED_GPUS", "5")
    _connect(monkeypatch, "other", conn_type="bulkhead", extra={"mlflow_tracking_uri": "http://connection"})
    settings = BulkheadHook("other").control().settings
    assert settings.mlflow_tracking_uri == "http://connection"
    assert settings.ledger == "sqlite:////tmp/section.db"
    assert settings.home == control.settings.home
    assert LocalRuntimeHook("nowhere").runtime().simulated_gpus == 5


def test_airflows_configuration_names_the_file(
    control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("home: /srv/mine")
    monkeypatch.setenv("AIRFLOW__BULKHEAD__CONFIG_FILE", str(tmp_path / "mine.yaml"))
    assert LocalRuntimeHook("nowhere").runtime().layout.root == Path("/srv/mine/pods")
    monkeypatch.setenv("AIRFLOW__BULKHEAD__CONFIG_FILE", str(tmp_path / "missing.yaml"))
    with pytest.raises(InvalidInputError, match=r"config_file = .*missing\.yaml.*no such file"):
        BulkheadHook().control()


def test_the_test_button_opens_the_ledger(control: Control) -> None:
    assert BulkheadHook().test_connection() == (True, "the ledger answers; services: none yet")


def test_the_runtime_of_a_connection(control: Control, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    extra = {"root": str(tmp_path / "elsewhere"), "simulated_gpus": 3}
    _connect(monkeypatch, "here", conn_type="bulkhead_local", extra=extra)
    runtime = LocalRuntimeHook("here").runtime()
    assert (runtime.layout.root, runtime.simulated_gpus) == (tmp_path / "elsewhere", 3)


def test_the_runtime_of_the_configuration(control: Control) -> None:
    runtime = LocalRuntimeHook().runtime()
    assert (runtime.layout.root, runtime.simulated_gpus) == (control.settings.pods, 2)


def test_simulated_gpus_that_are_no_number_are_named(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, "bad", conn_type="bulkhead_local", extra={"simulated_gpus": "many"})
    with pytest.raises(InvalidInputError, match=r"bad\.simulated_gpus = 'many'"):
        LocalRuntimeHook("bad").runtime()
