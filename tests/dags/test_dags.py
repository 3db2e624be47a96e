"""The DAGs as Airflow's dag-processor reads them."""

import copy
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from bulkhead.operators.deploy import DeployOperator
from bulkhead.plugins.deadlines import RunParamDeadline

FOLDER = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    bag = DagBag(FOLDER)
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_they_are_there_and_documented(dags: dict[str, DAG]) -> None:
    assert set(dags) == {"digits_release", "bulkhead_reconcile", "bulkhead_collect", "bulkhead_fleet_health"}
    assert all(dag.doc_md for dag in dags.values())


def test_the_release_trains_then_evaluates_then_deploys(dags: dict[str, DAG]) -> None:
    dag = dags["digits_release"]
    assert [task.task_id for task in dag.topological_sort()] == ["train", "evaluate", "deploy"]
    assert isinstance(dag.get_task("deploy"), DeployOperator)


def test_the_release_has_a_deadline_of_each_runs_own(dags: dict[str, DAG]) -> None:
    (alert,) = dags["digits_release"].deadline
    assert isinstance(alert.reference, RunParamDeadline)
    assert alert.callback.path == "bulkhead.plugins.deadlines.roll_back_late"


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
