"""The pod operator over real pods, without Airflow's processes (``tests/e2e`` has those)."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.backends import MLFLOW_SECRET
from bulkhead.control import Control
from bulkhead.operators.identity import identity
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.retry import ContainmentRetryPolicy
from bulkhead.operators.triggers.local_pod import LocalPodTrigger
from bulkhead.pods.exceptions import (
    ApplicationFailedError,
    GateRefusedError,
    GpuOutOfMemoryError,
    NodeLostError,
    PodConfigError,
    PodFailedError,
    error,
)
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.spec import PodRequest
from bulkhead.pods.status import PodPhase
from bulkhead.runtimes.local.tasks import end_event
from tests.waiting import until

SLEEP = ["python", "-c", "import time; time.sleep(60)"]
WAIT = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
LEAVE = "open(os.environ['BULKHEAD_TERMINATION_LOG'], 'w').write(%r)\n"
Context = Callable[..., Any]


def _gated(code: str) -> list[str]:
    """A command that waits until ``_end`` opens its gate, so that its task has deferred by then for sure."""
    return ["python", "-c", WAIT + code, "/tmp/gate"]


SUCCEED = _gated(LEAVE % '{"version": 1, "result": {"accuracy": 0.98}}')


def _operator(command: list[str], **more: Any) -> PodOperator:
    return PodOperator(task_id="train", command=command, gpus=1, **more)


def _launch(operator: PodOperator, context: Any) -> LocalPodTrigger:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    trigger = deferred.value.trigger
    assert isinstance(trigger, LocalPodTrigger)
    return trigger


def _end(control: Control, trigger: LocalPodTrigger) -> dict[str, Any]:
    volumes = control.runtime.layout.pods / f"default.{trigger.name}" / "volumes"
    until((volumes / "scratch-0").exists, "the pod's /tmp")
    (volumes / "scratch-0" / "gate").touch()
    until(lambda: control.runtime.status(trigger.name).ended, "the pod to end")
    return end_event(control.runtime, trigger.name, None)


def _request(operator: PodOperator, context: Any) -> PodRequest:
    return operator._request("p", context, operator.runtime())


def _pods(control: Control) -> list[str]:
    return [pod.name for pod in control.runtime.list({})]


def test_it_launches_a_pod_and_defers_with_a_limit(control: Control, context: Context) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        _operator(SLEEP, deadline=timedelta(minutes=5)).execute(context("train"))
    assert deferred.value.timeout == timedelta(minutes=5 + 10 + 5)  # its own, to start, to end
    assert _pods(control) == [deferred.value.trigger.name]


def test_the_result_is_the_outcomes(control: Control, context: Context) -> None:
    operator, task = _operator(SUCCEED), context("train")
    assert operator.resume(task, _end(control, _launch(operator, task))) == {"accuracy": 0.98}


def test_a_retry_waits_for_the_pod_that_still_runs(control: Control, context: Context) -> None:
    first = _launch(_operator(SLEEP), context("train", try_number=1))
    second = _launch(_operator(SLEEP), context("train", try_number=2))
    assert first.name == second.name and len(_pods(control)) == 1


def test_a_retry_uses_what_finished_while_nobody_watched(control: Control, context: Context) -> None:
    _end(control, _launch(_operator(SUCCEED), context("train", try_number=1)))
    assert _operator(SUCCEED).execute(context("train", try_number=2)) == {"accuracy": 0.98}
    assert len(_pods(control)) == 1


def test_a_retry_after_a_failure_runs_a_new_pod(control: Control, context: Context) -> None:
    operator = _operator(_gated("raise SystemExit(3)"))
    first = _launch(operator, context("train", try_number=1))
    event = _end(control, first)
    with pytest.raises(ApplicationFailedError, match=r"failed \(application\): container main: exit code 3"):
        operator.resume(context("train"), event)
    assert _launch(operator, context("train", try_number=2)).name != first.name


def test_a_cleared_task_ends_its_earlier_pod_and_starts_anew(control: Control, context: Context) -> None:
    first = _launch(_operator(SLEEP), context("train", max_tries=0))
    second = _launch(_operator(SLEEP), context("train", try_number=2, max_tries=1))
    assert second.name != first.name
    status = control.runtime.status(first.name)
    assert (status.phase, status.message) == (PodPhase.FAILED, "a later try of its task took its place")
    assert not control.runtime.status(second.name).ended


def test_late_word_of_a_pod_from_before_the_clear_is_none(control: Control, context: Context) -> None:
    first = _launch(_operator(SLEEP), context("train", max_tries=0))
    cleared = context("train", try_number=2, max_tries=1)
    second = _launch(_operator(SLEEP), cleared)
    late = {"event": {"name": first.name, "namespace": "default"}}
    with pytest.raises(TaskDeferred) as deferred:
        _operator(SLEEP).resume_execution("resume", late, cleared)
    assert deferred.value.trigger.name == second.name
    assert not control.runtime.status(second.name).ended
    control.runtime.terminate(second.name, reason="a test")
    own = {"event": end_event(control.runtime, second.name, None)}
    with pytest.raises(PodFailedError, match="a test"):
        _operator(SLEEP).resume_execution("resume", own, context("train", try_number=3, max_tries=1))


@pytest.mark.parametrize(
    ("left", "kind"),
    [
        ("gate", GateRefusedError),
        ("config", PodConfigError),
        ("application", ApplicationFailedError),
        ("gpu_oom", GpuOutOfMemoryError),
    ],
)
def test_a_failure_has_a_type_of_its_class(
    control: Control, context: Context, left: str, kind: type[PodFailedError]
) -> None:
    words = json.dumps({"version": 1, "failure": {"failure_class": left, "message": "because"}})
    operator, task = _operator(_gated(LEAVE % words + "raise SystemExit(1)")), context("train")
    event = _end(control, _launch(operator, task))
    with pytest.raises(kind, match=rf"\({left}\): because"):
        operator.resume(task, event)


def test_the_infrastructure_has_retries_of_its_own() -> None:
    assert _operator(SLEEP, retries=2).retries == 2 + 3
    assert _operator(SLEEP, retries=2, retry_policy=ContainmentRetryPolicy(infrastructure_retries=0)).retries == 2
    assert _operator(SLEEP, retries=2, retry_policy=ExceptionRetryPolicy([])).retries == 2


def test_a_retry_after_a_host_oom_has_more_memory_and_knows_the_checkpoint(control: Control, context: Context) -> None:
    operator, task = _operator(SLEEP, memory="2Gi"), context("train", retries=3)
    for failure in (
        Failure(failure_class=FailureClass.PREEMPTED, checkpoint="file:///c/step-40"),
        Failure(failure_class=FailureClass.HOST_OOM),
    ):
        operator.retry_policy.evaluate(error("train-1", failure), 1, 3, task)
    request = _request(operator, task)
    assert request.memory == str(3 * 2**30)
    assert request.env["BULKHEAD_RESUME_FROM"] == "file:///c/step-40"
    assert "BULKHEAD_RESUME_FROM" not in _request(operator, context("train", max_tries=4)).env  # cleared: anew


def test_the_log_of_the_pod_is_in_the_log_of_the_task(
    control: Control, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    operator, task = _operator(_gated("print('epoch 1')")), context("train")
    event = _end(control, _launch(operator, task))
    operator.resume(task, event)
    assert "log of pod" in (out := capsys.readouterr().out) and "\nepoch 1\n" in out


def test_killing_the_task_ends_the_pod(control: Control, context: Context) -> None:
    operator = _operator(SLEEP)
    trigger = _launch(operator, context("train"))
    operator.on_kill()
    assert control.runtime.status(trigger.name).message == "its task was killed"


def test_a_pod_that_somebody_deleted_is_said(control: Control, context: Context) -> None:
    operator, task = _operator(SLEEP), context("train")
    trigger = _launch(operator, task)
    control.runtime.delete(trigger.name, reason="a person", grace_s=0)
    with pytest.raises(NodeLostError, match="it was deleted"):
        operator.resume(task, end_event(control.runtime, trigger.name, None))


def test_bad_input_fails_at_once_and_starts_nothing(control: Control, context: Context) -> None:
    with pytest.raises(AirflowFailException, match=r"nvidia.com/gpu'\] = 99"):
        PodOperator(task_id="train", command=SLEEP, gpus=99).execute(context("train"))
    assert _pods(control) == []


def test_mlflows_credentials_go_by_reference_where_there_are_any(control: Control, context: Context) -> None:
    assert _request(_operator(SLEEP), context("train")).secret_env == {}
    control.runtime.write_secret(MLFLOW_SECRET, {"username": "u", "password": "hunter2"})
    request = _request(_operator(SLEEP), context("train"))
    assert set(request.secret_env) == {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    assert "hunter2" not in repr(request)


def test_a_task_without_an_image_runs_the_configurations(
    context: Context, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKHEAD_TASKS_IMAGE", "registry/tasks:1")
    assert _request(_operator(SLEEP), context("train")).image == "registry/tasks:1"
    assert _request(_operator(SLEEP, image="registry/own:2"), context("train")).image == "registry/own:2"


def test_the_identity_changes_with_a_clear_and_not_with_a_retry(context: Context) -> None:
    first, retry = identity(context("train")), identity(context("train", try_number=2))
    assert first == retry
    assert identity(context("train", try_number=2, max_tries=1)) != first
