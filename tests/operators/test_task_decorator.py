"""``@task.gpu_pod`` as an author writes it, in real pods of the local runtime."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kmock
import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.control import Control
from bulkhead.errors import InvalidInputError
from bulkhead.gpu_tasks import taskflow
from bulkhead.operators.task_decorator import GpuPodDecoratedOperator
from bulkhead.pods.exceptions import ApplicationFailedError
from bulkhead.pods.outcome import Outcome
from bulkhead.runtimes.local.tasks import end_event
from tests.fixtures.gpu_pod import pods_of
from tests.waiting import until

Context = Callable[..., Any]


def _operator(made: Any) -> GpuPodDecoratedOperator:
    return made.operator  # type: ignore[no-any-return]


def _run(control: Control, operator: GpuPodDecoratedOperator, context: Any) -> Any:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    name = deferred.value.trigger.name  # type: ignore[attr-defined]
    until(lambda: control.runtime.status(name).ended, "the pod to end")
    return operator.resume(context, end_event(control.runtime, name, None))


@pytest.mark.parametrize("value", [{"loss": [0.5, None]}, [1, "é"], 7, "text", None, True])
def test_a_function_is_called_in_a_pod_with_arguments_and_result_as_json(
    control: Control, context: Context, value: Any
) -> None:
    with DAG("taskflow"):

        @task.gpu_pod(gpus=0)
        def echo(first: Any, *, second: Any = 2) -> Any:
            import os

            assert "BULKHEAD_FUNCTION" in os.environ  # it is another process
            return [first, second]

        made = echo(value, second={"a": 1})
    assert _run(control, _operator(made), context("echo")) == [value, {"a": 1}]


def test_a_result_goes_on_to_the_next_task_as_with_any_other() -> None:
    with DAG("taskflow") as dag:

        @task
        def rows() -> int:
            return 3

        @task.gpu_pod(gpus=0)
        def double(count: int) -> int:
            return 2 * count

        double(rows())
    assert dag.get_task("double").upstream_task_ids == {"rows"}
    assert isinstance(dag.get_task("double"), GpuPodDecoratedOperator)


def test_it_may_be_mapped(control: Control) -> None:
    with DAG("taskflow") as dag:

        @task.gpu_pod(gpus=0, memory="1Gi")
        def square(number: int) -> int:
            return number**2

        square.expand(number=[1, 2, 3])
    mapped = dag.get_task("square").unmap({"op_kwargs": {"number": 2}, "task_id": "square"})  # type: ignore[union-attr]
    assert (mapped.op_kwargs, mapped.memory) == ({"number": 2}, "1Gi")


def test_a_failure_is_told_with_the_line_of_the_function(
    control: Control, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    with DAG("taskflow"):

        @task.gpu_pod(gpus=0)
        def fails() -> None:
            layers = [1, 2]
            print(layers[7])

        made = fails()
    with pytest.raises(ApplicationFailedError, match="list index out of range"):
        _run(control, _operator(made), context("fails"))
    out = capsys.readouterr().out
    assert "<task fails>" in out and "print(layers[7])" in out


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("{1, 2}", r"returns\(\) has to return JSON"),
        ("'x' * 5000", r"returns\(\) returned \d+ bytes, and 4096 fit: put"),
    ],
)
def test_what_cannot_be_returned_is_told(control: Control, context: Context, returned: str, message: str) -> None:
    with DAG("taskflow"):

        @task.gpu_pod(gpus=0)
        def returns(code: str) -> Any:
            return eval(code)

        made = returns(returned)
    with pytest.raises(ApplicationFailedError, match=message):
        _run(control, _operator(made), context("returns"))


def test_an_argument_that_is_no_json_is_told_when_the_dag_is_read() -> None:
    @task.gpu_pod(gpus=0)
    def takes(value: Any) -> None: ...

    with DAG("taskflow"), pytest.raises(InvalidInputError, match=r"op_kwargs\[value\] = .*: a pod takes JSON"):
        takes(value={1, 2})
    with DAG("taskflow"), pytest.raises(InvalidInputError, match=r"op_args\[0\] = nan: a pod takes JSON"):
        takes(float("nan"))


def test_an_argument_that_becomes_none_or_too_much_is_refused_before_the_pod(
    control: Control, context: Context
) -> None:
    with DAG("taskflow"):

        @task.gpu_pod(gpus=0)
        def takes(value: Any) -> None: ...

        operator = _operator(takes("{{ x }}"))
    for value, message in (
        (object(), r"op_args\[0\] = <object"),
        ("x" * 200_000, r"takes\(\): BULKHEAD_PARAMETERS = "),
    ):
        operator.op_args = [value]  # as its template is rendered
        with pytest.raises(AirflowFailException, match=message):
            operator.execute(context("takes"))
    assert list(control.runtime.list({})) == []


def test_a_function_runs_in_one_pod() -> None:
    @task.gpu_pod(gpus=0, nodes=2)
    def ranks() -> None: ...

    with DAG("taskflow"), pytest.raises(InvalidInputError, match="nodes = 2: a function runs in one pod"):
        ranks()


async def test_on_a_cluster_it_is_a_pod_like_any_other(
    control: Control, context: Context, cluster: kmock.KubernetesEmulator, cluster_connection: str
) -> None:
    with DAG("taskflow"):

        @task.gpu_pod(image="team/python:3.12", gpus=1, gpu_product="NVIDIA-L4", runtime_conn_id=cluster_connection)
        def score(rows: int) -> int:
            return rows

        operator = _operator(score(3))
    with pytest.raises(TaskDeferred):
        await asyncio.to_thread(operator.execute, context("score"))
    (pod,) = pods_of(cluster).values()
    (container,) = pod["spec"]["containers"]
    assert (container["image"], container["command"][:2]) == ("team/python:3.12", ["python", "-c"])
    given = {one["name"]: one.get("value") for one in container["env"]}
    assert json.loads(given["BULKHEAD_PARAMETERS"]) == {"function": "score", "args": [3], "kwargs": {}}
    assert given["BULKHEAD_FUNCTION"].startswith("def score(rows: int) -> int:")


def test_an_image_needs_no_more_than_a_python(tmp_path: Path) -> None:
    environment = {
        "BULKHEAD_TERMINATION_LOG": str(tmp_path / "left"),
        "BULKHEAD_FUNCTION": "def f(a, b=1):\n    return {'sum': a + b}\n",
        "BULKHEAD_PARAMETERS": json.dumps({"function": "f", "args": [1], "kwargs": {"b": 2}}),
        "PATH": os.environ["PATH"],
    }
    source = Path(taskflow.__file__).read_text()
    command = [sys.executable, "-I", "-S", "-c", source]  # without site-packages
    subprocess.run(command, env=environment, check=True, cwd=tmp_path)
    left = Outcome.decode((tmp_path / "left").read_text())
    assert left is not None and left.result == {"return_value": {"sum": 3}}
