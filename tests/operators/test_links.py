from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.control import Control
from bulkhead.errors import UnavailableError
from bulkhead.operators import links
from bulkhead.operators.deploy import DeployOperator
from bulkhead.operators.evaluate import EvaluateOperator

Context = Callable[..., Any]
GATE: dict[str, Any] = {"model_name": "m", "data": "a.csv", "target": "y", "metrics": {"roc_auc": {"margin": 0.1}}}
TRAINED = {"model_uri": "models:/m-1f", "run_id": "r1", "experiment_id": "7"}
UI = "http://127.0.0.1:5000/#"


def _links(operator: Any, ti: Any) -> dict[str, str]:
    return {link.name: link.get_link(operator, ti_key=ti) for link in operator.operator_extra_links}


def _deploy(context: Any) -> DeployOperator:
    operator = DeployOperator(task_id="deploy", service="digits", model_name="team/digits")
    with pytest.raises(TaskDeferred):
        operator.execute(context)
    return operator


def test_a_deploy_task_leads_to_run_model_and_endpoint_while_it_waits(control: Control, context: Context) -> None:
    asked = context("deploy", xcoms={"evaluate": TRAINED})
    operator = _deploy(asked)
    assert _links(operator, asked["ti"]) == {
        "MLflow run": f"{UI}/experiments/7/runs/r1",
        "Model version": f"{UI}/experiments/7/models/m-1f",
        "Endpoint": "http://127.0.0.1:18080",
    }
    (rollout,) = control.ledger.rollouts.latest()
    control.ledger.revisions.set_model_version(rollout.revision_id, "3")
    resumed = DeployOperator(task_id="deploy", service="digits", model_name="team/digits")  # in a process of its own
    assert _links(resumed, asked["ti"])["Model version"] == f"{UI}/models/team%2Fdigits/versions/3"


def test_all_links_of_a_process_read_once_also_where_the_ledger_is_away(
    control: Control, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = context("deploy", xcoms={"evaluate": TRAINED})
    reads: list[str] = []

    def away(_: object) -> Control:
        reads.append("control")
        raise UnavailableError("the ledger does not answer")

    monkeypatch.setattr(DeployOperator, "control", away)
    operator = DeployOperator(task_id="deploy", service="digits", model_name="digits")
    assert set(_links(operator, asked["ti"]).values()) == {""}
    assert reads == ["control"]


def test_what_was_refused_has_an_endpoint_alone(control: Control, context: Context) -> None:
    asked = context("deploy", xcoms={"evaluate": TRAINED})
    operator = DeployOperator(task_id="deploy", service="digits", model_name="digits", plan={"steps": "{{ all }}"})
    with pytest.raises(AirflowFailException):
        operator.execute(asked)
    assert _links(operator, asked["ti"]) == {
        "MLflow run": "",
        "Model version": "",
        "Endpoint": "http://127.0.0.1:18080",
    }


def test_a_ledger_that_is_away_costs_a_line_and_not_the_task(
    control: Control, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    operator = DeployOperator(task_id="deploy", service="elsewhere", model_name="digits")
    assert set(_links(operator, context("deploy")["ti"]).values()) == {""}
    assert "no link to the Endpoint: unknown service 'elsewhere'" in caplog.text


def test_an_evaluate_task_leads_to_the_run_and_the_logged_model_even_if_it_refuses(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__BULKHEAD__MLFLOW_UI_URL", "https://somebody:secret@mlflow.example/ui/")
    operator = EvaluateOperator(task_id="evaluate", train_task_id="fit", **GATE)
    pulled: dict[str, Any] = {"fit": TRAINED}
    ti = SimpleNamespace(xcom_pull=lambda task_ids: pulled.get(task_ids))
    operator.render_template_fields({"ti": ti})  # type: ignore[typeddict-item]
    assert _links(operator, ti) == {
        "MLflow run": "https://mlflow.example/ui/#/experiments/7/runs/r1",
        "Model version": "https://mlflow.example/ui/#/experiments/7/models/m-1f",
        "Gate report": "https://mlflow.example/ui/#/experiments/7/runs/r1/artifacts/gate.html",
    }


def test_a_training_of_somebody_else_that_left_nothing_has_no_link(control: Control) -> None:
    operator = EvaluateOperator(task_id="evaluate", **GATE)
    operator.candidate = operator.render_template(
        operator.candidate, {"ti": SimpleNamespace(xcom_pull=lambda **_: None)}
    )  # type: ignore[typeddict-item]
    assert set(_links(operator, None).values()) == {""}


def test_airflow_is_told_of_every_link() -> None:
    ours = {name for name, one in vars(links).items() if name.endswith("Link") and not name.startswith("_")}
    ours.discard("BaseOperatorLink")
    known = ProvidersManager().extra_links_class_names
    assert {f"bulkhead.operators.links.{name}" for name in ours} <= set(known)
