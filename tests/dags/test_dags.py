"""The DAGs as Airflow's dag-processor reads them."""

import copy
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from bulkhead.gpu_tasks.gpt import SIZES
from bulkhead.operators.deploy import DeployOperator
from bulkhead.plugins.deadlines import RunParamDeadline

FOLDER = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    bag = DagBag(FOLDER)
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_they_are_there_and_documented(dags: dict[str, DAG]) -> None:
    services = {"bulkhead_reconcile", "bulkhead_collect", "bulkhead_fleet_health"}
    assert set(dags) == {"digits_release", "gpt_release", *services}
    assert all(dag.doc_md for dag in dags.values())


@pytest.mark.parametrize("dag_id", ["digits_release", "gpt_release"])
def test_a_release_trains_then_evaluates_then_deploys(dags: dict[str, DAG], dag_id: str) -> None:
    dag = dags[dag_id]
    assert [task.task_id for task in dag.topological_sort()] == ["train", "evaluate", "deploy"]
    assert isinstance(dag.get_task("deploy"), DeployOperator)


def test_the_release_has_a_deadline_of_each_runs_own(dags: dict[str, DAG]) -> None:
    (alert,) = dags["digits_release"].deadline
    assert isinstance(alert.reference, RunParamDeadline)
    assert alert.callback.path == "bulkhead.plugins.deadlines.roll_back_late"


def test_a_language_model_is_tried_in_a_shadow_first(dags: dict[str, DAG]) -> None:
    first = dags["gpt_release"].get_task("deploy").plan["steps"][0]
    assert first["mirror"] == 100 and "weight" not in first
    assert set(dags["gpt_release"].params.get_param("size").schema["enum"]) <= set(SIZES)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": "many"}, "epochs"),
        ({"fault": "evil"}, "fault"),
        ({"min_requests": 0}, "min_requests"),
        ({"deadline_s": 1}, "deadline_s"),
    ],
)
def test_a_param_out_of_range_is_refused_by_name(dags: dict[str, DAG], params: dict[str, Any], named: str) -> None:
    declared = copy.deepcopy(dags["digits_release"].params)
    with pytest.raises(ParamValidationError, match=f"Invalid input for param {named}"):
        declared.update(params)


def test_the_defaults_are_valid(dags: dict[str, DAG]) -> None:
    assert dags["digits_release"].params.validate()["fault"] == "none"
