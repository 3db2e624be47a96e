from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bulkhead.gpu_tasks.entry import classify, run
from bulkhead.gpu_tasks.errors import ConfigError, GateError, PreemptedError, VoidError
from bulkhead.pods.outcome import PATH_VARIABLE, Failure, FailureClass, Outcome
from tests.fixtures.nvml import Library


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "message"))
    return tmp_path / "message"


def _failure(job: Callable[[], Mapping[str, Any]], left: Path) -> Failure:
    """What a job that fails leaves."""
    with pytest.raises(SystemExit):
        run(job)
    outcome = Outcome.decode(left.read_text())
    assert outcome is not None and outcome.failure is not None
    return outcome.failure


def test_a_job_leaves_its_result(left: Path) -> None:
    run(lambda: {"accuracy": 0.98})
    assert Outcome.decode(left.read_text()) == Outcome(result={"accuracy": 0.98})


def test_a_job_that_fails_leaves_why_and_exits_with_1(left: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def job() -> dict[str, str]:
        raise GateError("accuracy 0.5 is under 0.97")

    with pytest.raises(SystemExit) as caught:
        run(job)
    assert caught.value.code == 1
    outcome = Outcome.decode(left.read_text())
    assert outcome is not None and outcome.failure is not None
    assert outcome.failure.failure_class is FailureClass.GATE
    assert outcome.failure.message == "accuracy 0.5 is under 0.97"
    assert outcome.failure.exception == "bulkhead.gpu_tasks.errors.GateError"
    assert "Traceback" in outcome.failure.evidence and "Traceback" in capsys.readouterr().err


def test_a_gpu_that_fails_while_the_job_runs_is_named(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr("bulkhead.health.sources.nvml.import_module", lambda name: library)

    def job() -> dict[str, str]:
        library.lost = {1}
        raise RuntimeError("CUDA error: unknown error")

    failure = _failure(job, left)
    assert (failure.failure_class, failure.kind, failure.device) == (FailureClass.DEVICE_FAULT, "xid-79", "GPU-1")


def test_what_a_device_has_voided_names_the_device(left: Path) -> None:
    def job() -> dict[str, str]:
        raise VoidError("the evaluation is void: Xid 48", "xid-48", "GPU-1")

    failure = _failure(job, left)
    assert (failure.failure_class, failure.kind, failure.device) == (FailureClass.DEVICE_FAULT, "xid-48", "GPU-1")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GateError("x"), FailureClass.GATE),
        (VoidError("x", "xid-48", None), FailureClass.DEVICE_FAULT),
        (ConfigError("x"), FailureClass.CONFIG),
        (MemoryError(), FailureClass.HOST_OOM),
        (OutOfMemoryError("CUDA out of memory"), FailureClass.GPU_OOM),
        (ValueError("x"), FailureClass.APPLICATION),
    ],
)
def test_exceptions_have_a_class(error: Exception, expected: FailureClass) -> None:
    assert classify(error) is expected


def test_torchs_own_error_is_recognised() -> None:
    import torch

    assert classify(torch.OutOfMemoryError("CUDA out of memory")) is FailureClass.GPU_OOM


# Under torchrun


def test_rank_0_alone_tells_the_result(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in ("1", "0", "2"):
        monkeypatch.setenv("RANK", rank)
        run(lambda rank=rank: {"rank": rank})
    assert Outcome.decode(left.read_text()) == Outcome(result={"rank": "0"})


def test_of_several_that_fail_the_first_counts(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def job(rank: str) -> dict[str, str]:
        if rank == "0":
            return {"rank": "0"}
        raise RuntimeError(f"rank {rank}")

    for rank in ("0", "3", "1"):
        monkeypatch.setenv("RANK", rank)
        try:
            run(lambda rank=rank: job(rank))
        except SystemExit:
            assert rank != "0"
    outcome = Outcome.decode(left.read_text())
    assert outcome is not None and outcome.failure is not None
    assert (outcome.failure.message, outcome.failure.rank) == ("rank 3", 3)


def test_a_job_that_was_told_to_end_says_where_to_resume(left: Path) -> None:
    def job() -> dict[str, str]:
        raise PreemptedError("told to end at step 8", "/checkpoints/step-8")

    with pytest.raises(SystemExit):
        run(job)
    outcome = Outcome.decode(left.read_text())
    assert outcome is not None and outcome.failure is not None
    assert outcome.failure.failure_class is FailureClass.PREEMPTED
    assert outcome.failure.checkpoint == "/checkpoints/step-8"
