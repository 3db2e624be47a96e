from types import SimpleNamespace
from typing import Any

import pytest

from bulkhead.control import Control
from bulkhead.operators.collect import CollectOperator, over
from bulkhead.pods.identity import TaskIdentity
from bulkhead.pods.spec import PodRequest, build


def _launch(run: str, task: str = "train", map_index: int = -1, dag: str = "release") -> Any:
    known = {"dag_id": dag, "run_id": run, "task_id": task, "map_index": map_index}
    return SimpleNamespace(task=known, pod=f"{run}.{task}.{map_index}")


class Airflow:
    """``get_task_states`` as the execution API answers it."""

    def __init__(self, states: dict[tuple[str, str, int], str | None]) -> None:
        self.states, self.calls = states, 0

    def __call__(self, dag_id: str, map_index: int, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        self.calls += 1
        answer: dict[str, Any] = {}
        for (run, task, index), state in self.states.items():
            if run in run_ids and task in task_ids and index == map_index:
                answer.setdefault(run, {})[task if index < 0 else f"{task}_{index}"] = state
        return answer


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed", "removed"])
def test_a_task_that_is_over_has_no_pod(state: str) -> None:
    ((launch, why),) = over([_launch("r")], Airflow({("r", "train", -1): state}))
    assert (launch.pod, why) == ("r.train.-1", state)


@pytest.mark.parametrize(
    "state",
    [None, "scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule", "restarting"],
)
def test_a_task_that_may_come_back_for_its_pod_keeps_it(state: str | None) -> None:
    assert over([_launch("r")], Airflow({("r", "train", -1): state})) == []


def test_a_run_that_was_deleted_has_none() -> None:
    assert [why for _, why in over([_launch("r")], Airflow({}))] == ["deleted"]


def test_mapped_tasks_are_told_apart() -> None:
    airflow = Airflow({("r", "train", 0): "failed", ("r", "train", 1): "deferred"})
    assert [launch.pod for launch, _ in over([_launch("r", map_index=0), _launch("r", map_index=1)], airflow)] == [
        "r.train.0"
    ]


def test_many_runs_are_asked_for_in_portions() -> None:
    launches = [_launch(f"r{number}") for number in range(120)]
    airflow = Airflow({(f"r{number}", "train", -1): "failed" for number in range(120)})
    assert len(over(launches, airflow)) == 120 and airflow.calls == 3


def test_a_pass_ends_what_airflow_says_is_over(control: Control) -> None:
    task = TaskIdentity("release", "run", "train")
    command = ["python", "-c", "import time; time.sleep(60)"]
    control.runtime.launch(build(PodRequest(name="train-1", image="none", command=command, labels=task.labels())))
    known = {"dag_id": "release", "run_id": "run", "task_id": "train", "map_index": -1}
    access = {"local_root": str(control.runtime.layout.root)}
    control.ledger.launches.record(access, "default", "train-1", owner=task.owner, instance=task.instance, task=known)
    airflow = Airflow({("run", "train", -1): "deferred"})
    context: Any = {"ti": SimpleNamespace(get_task_states=airflow)}
    assert CollectOperator(task_id="collect").execute(context) == []
    airflow.states[("run", "train", -1)] = "failed"
    lines = CollectOperator(task_id="collect").execute(context)
    assert lines == ["default/train-1: told to end (its task is over: failed)"]
    assert control.runtime.status("train-1").ended
