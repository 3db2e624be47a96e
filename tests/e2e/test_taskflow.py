"""``@task.gpu_pod`` under a real scheduler and triggerer."""

import pytest

from tests.e2e.conftest import Kept

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("examples_begun")]


def test_a_function_in_a_pod_takes_and_gives_results_as_any_other_task(kept: Kept) -> None:
    kept.start("taskflow", "json", {})
    kept.task("taskflow", "json", "use", "success")

    def xcom(task_id: str, key: str) -> object:
        path = f"/api/v2/dags/taskflow/dagRuns/json/taskInstances/{task_id}/xcomEntries/{key}"
        return kept.airflow.call("GET", path)["value"]

    assert xcom("describe", "return_value") == {"sum": 6, "run": "json", "in_airflow": False}
    assert (xcom("describe", "sum"), xcom("use", "return_value")) == (6, 7)
