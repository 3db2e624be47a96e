"""docs/howto-own-model.md is executed: its project, its DAG, real pods, a real MLflow."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from airflow.sdk.exceptions import TaskDeferred

from bulkhead.cli.project import lay_down
from bulkhead.control import Control
from bulkhead.operators.pod import PodOperator
from bulkhead.pods.exceptions import PodConfigError
from bulkhead.runtimes.local.tasks import end_event
from tests.local_pods import from_inside
from tests.waiting import until

TEXT = (Path(__file__).parents[2] / "docs" / "howto-own-model.md").read_text()
FILES = dict(re.findall(r"`([\w/]+\.(?:py|json))`[^\n]*:\n\n```\w+\n(.+?)```", TEXT, re.DOTALL))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    lay_down(tmp_path / "tumours")
    return tmp_path / "tumours"


@pytest.fixture
def tasks(control: Control, project: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, PodOperator]:
    monkeypatch.setenv("BULKHEAD_MLFLOW_TRACKING_URI", mlflow_uri)
    mlflow.set_tracking_uri(mlflow_uri)
    found = runpy.run_path(str(project / "dags" / "tumours_release.py"))
    tasks = {name: found[name] for name in ("train", "evaluate")}
    for task in tasks.values():  # in place of `pip install -e .`
        task.env["PYTHONPATH"] = from_inside(control.runtime, project)
    tasks["evaluate"].asked["checks"] = from_inside(control.runtime, project / "tumours" / "checks.json")
    return tasks


def _run(control: Control, task: PodOperator, context: Any, **rendered: Any) -> dict[str, Any]:
    for name, value in rendered.items():
        setattr(task, name, value)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    name = deferred.value.trigger.name  # type: ignore[attr-defined]
    until(lambda: control.runtime.status(name).ended, "the pod to end")
    return task.resume(context, end_event(control.runtime, name, None))


def test_the_page_shows_what_is_laid_down(project: Path) -> None:
    assert set(FILES) == {
        *(f"tumours/{name}" for name in ("data.py", "train.py", "metrics.py", "checks.json")),
        "dags/tumours_release.py",
    }
    assert {name: (project / name).read_text() for name in FILES} == FILES


def test_it_trains_and_passes_as_the_page_says(
    control: Control, context: Callable[..., Any], tasks: dict[str, PodOperator]
) -> None:
    trained = _run(control, tasks["train"], context("train"), parameters={"c": "1.0"})
    tasks["evaluate"].render_template_fields({"ti": SimpleNamespace(xcom_pull=lambda task_ids: trained)})
    evidence = _run(control, tasks["evaluate"], context("evaluate"))
    (said,) = re.findall(r"```\n(accuracy_score.+?)```", TEXT, re.DOTALL)
    data = evidence["training_data"]
    assert data == trained["training_data"] and data.startswith("tumours@")
    assert said.splitlines() == [
        f"accuracy_score {evidence['accuracy_score']:.3f} of at least 0.9, missed {evidence['missed']:.3f}",
        "training_data tumours@…",
        f"champion: {evidence['champion']}",
    ]


def test_a_wrong_parameter_is_said_as_the_page_says(
    control: Control, context: Callable[..., Any], tasks: dict[str, PodOperator]
) -> None:
    said = [row.split("`")[1] for row in TEXT.splitlines() if row.startswith("| a parameter")]
    for number, (parameters, expected) in enumerate(zip(({"sead": 1}, {"c": "fast"}), said, strict=True), 1):
        begin = re.escape(expected.partition(" …")[0].removesuffix(";").removesuffix(","))
        with pytest.raises(PodConfigError, match=begin):
            _run(control, tasks["train"], context("train", try_number=number), parameters=parameters)
