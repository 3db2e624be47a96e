"""Real torchrun, real torch.distributed over gloo, on pods of the local runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.collector import Collector
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.triggers.local_gang import LocalGangTrigger
from bulkhead.pods.exceptions import ApplicationFailedError
from bulkhead.runtimes.local.tasks import node_names
from tests.local_pods import from_inside

PROGRAM = Path(__file__).parents[1] / "programs" / "ddp.py"
SLEEP = ["python", "-c", "import time; time.sleep(60)"]
Context = Callable[..., Any]


def _operator(command: list[str], **more: Any) -> PodOperator:
    return PodOperator(task_id="train", command=command, **{"nodes": 2, "gpus": 0, **more})


def _launch(operator: PodOperator, context: Any) -> LocalGangTrigger:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    assert isinstance(deferred.value.trigger, LocalGangTrigger)
    return deferred.value.trigger


async def _wait(trigger: LocalGangTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")


async def test_two_nodes_of_two_processes_find_each_other(control: Control, context: Context) -> None:
    program = from_inside(control.runtime, PROGRAM)
    operator, task = _operator([program], processes_per_node=2), context("train")
    event = await _wait(_launch(operator, task))
    assert operator.resume(task, event) == {"sum": 0 + 1 + 2 + 3, "world": 4}
    assert control.ledger.launches.active() == []


async def test_the_rank_that_failed_is_the_cause_and_its_victims_are_not(control: Control, context: Context) -> None:
    program = from_inside(control.runtime, PROGRAM)
    operator, task = _operator([program, "1"]), context("train")
    event = await _wait(_launch(operator, task))
    with pytest.raises(
        ApplicationFailedError,
        match=r"node rank 1 of 2 \(pod .*-1\) failed first; node ranks 0 failed after it: layer 7",
    ) as caught:
        operator.resume(task, event)
    assert (caught.value.failure.rank, caught.value.failure.exception) == (1, "builtins.IndexError")
    assert all(control.runtime.status(name).ended for name in node_names(event["name"], 2))


async def test_a_task_that_is_marked_takes_all_nodes_along(control: Control, context: Context) -> None:
    trigger = _launch(_operator(SLEEP, torchrun=False), context("train"))
    await trigger.on_kill()
    assert {control.runtime.status(name).message for name in node_names(trigger.name, 2)} == {
        "its task was marked or cleared"
    }


def test_a_retry_waits_for_the_job_of_an_earlier_try(control: Control, context: Context) -> None:
    first = _launch(_operator(SLEEP, torchrun=False), context("train"))
    assert _launch(_operator(SLEEP, torchrun=False), context("train", try_number=2)).name == first.name


def test_a_cleared_task_ends_all_nodes_of_its_earlier_job(control: Control, context: Context) -> None:
    first = _launch(_operator(SLEEP, torchrun=False), context("train"))
    second = _launch(_operator(SLEEP, torchrun=False), context("train", try_number=2, max_tries=1))
    assert second.name != first.name
    assert all(control.runtime.status(name).ended for name in node_names(first.name, 2))


def test_the_collector_ends_all_nodes(control: Control, context: Context) -> None:
    trigger = _launch(_operator(SLEEP, torchrun=False), context("train"))
    control.ledger.launches.end_run("airflow:release/run", "its DAG run has ended")

    def refuse(access: Any) -> Any:
        raise AssertionError("no cluster is asked")

    (one,) = Collector(control.ledger.launches, refuse).collect()
    assert one.done and all(control.runtime.status(name).ended for name in node_names(trigger.name, 2))


def test_all_nodes_or_none(control: Control, context: Context) -> None:
    job = _operator(SLEEP, torchrun=False, gpus=99)
    with pytest.raises(AirflowFailException, match=r"nvidia.com/gpu'\] = 99"):
        job.execute(context("train"))
    assert list(control.runtime.list({})) == []


def test_an_impossible_size_is_refused_when_the_dag_is_read() -> None:
    with pytest.raises(InvalidInputError, match="nodes = 0"):
        _operator(SLEEP, nodes=0)
