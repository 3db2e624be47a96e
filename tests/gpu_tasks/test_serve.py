"""MLflow's scoring server as a pod runs it."""

import json
import socket
import urllib.request
from collections.abc import Callable
from typing import Any

import mlflow
import pytest

from bulkhead.gpu_tasks import digits
from bulkhead.gpu_tasks.train import train
from bulkhead.metrics.counters import load
from bulkhead.pods.outcome import FailureClass
from bulkhead.pods.spec import PodRequest, build
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.runtimes.local.runtime import LocalRuntime
from tests.ports import free_port
from tests.waiting import until


@pytest.fixture(scope="module")
def model_uri(mlflow_uri: str) -> str:
    mlflow.set_tracking_uri(mlflow_uri)
    return str(train(seed=0, epochs=1, channels=4, fault="none")["model_uri"])


def _serve(model_uri: str, port: int) -> list[str]:
    return ["python", "-m", "bulkhead.gpu_tasks.serve", "--model-uri", model_uri, "--port", str(port)]


def _ask(port: int, body: Any) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _counted(port: int) -> tuple[int, int]:
    """How many answers the server has counted, and how many of them by category."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/statistics", timeout=60) as answer:
        answers = load(json.load(answer)["model"]).answers
    assert answers is not None
    return answers.seen, sum(answers.categories.values())


def test_it_serves_and_ends_well_when_told(mlflow_uri: str, model_uri: str, runtime: LocalRuntime) -> None:
    port = free_port()
    pod = PodRequest(
        name="serve",
        image="none",
        command=_serve(model_uri, port),
        env={"MLFLOW_TRACKING_URI": mlflow_uri},
        deadline_s=None,
        port=port,
        ready_path="/ping",
    )
    runtime.launch(build(pod))

    def ready() -> bool:
        status = runtime.status("serve")
        assert not status.ended, runtime.read_log("serve")
        return status.ready

    until(ready, "the scoring server")
    image = digits.load().test_images[0].tolist()
    assert _ask(port, {"inputs": [image]})["predictions"][0] in range(10)
    until(lambda: _counted(port) == (1, 1), "the answer is counted once it is out, which may be after it was read")
    runtime.terminate("serve", reason="the test is over")
    status = runtime.status("serve")
    assert (status.reason, status.exit_code) == ("Cancelled", 0)


def test_a_port_in_use_is_a_named_failure(model_uri: str, run_pod: Callable[..., PodStatus]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        status = run_pod(_serve(model_uri, port))
    assert status.phase is PodPhase.FAILED
    failure = status.outcome.failure
    assert failure is not None and failure.failure_class is FailureClass.CONFIG
    assert failure.message.startswith(f"port = {port}: in use")
