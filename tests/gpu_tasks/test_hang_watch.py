"""A job that hangs ends as such, with the rank and its stacks, whatever it hangs in."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bulkhead.gpu_tasks import hang_watch
from bulkhead.gpu_tasks.heartbeat import Heartbeat, read
from bulkhead.pods.outcome import PATH_VARIABLE, FailureClass, Outcome

PROGRAM = str(Path(__file__).parents[1] / "programs" / "beating.py")

pytestmark = pytest.mark.faults


def _run(folder: Path, ranks: int, *arguments: str) -> tuple[int, Outcome | None, str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--max-restarts=0"] if ranks > 1 else []
    message = folder / "termination-log"
    command = [sys.executable, *launcher, PROGRAM, str(folder / "progress"), "8", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, PATH_VARIABLE: str(message)},
    )
    outcome = Outcome.decode(message.read_text()) if message.exists() else None
    return done.returncode, outcome, done.stdout + done.stderr


@pytest.mark.parametrize("how", ["python", "lock"])
def test_the_rank_that_hangs_is_named_with_its_stacks(tmp_path: Path, how: str) -> None:
    code, outcome, log = _run(tmp_path, 2, "1", how, "3", "forward")
    assert code != 0
    assert outcome is not None and outcome.failure is not None
    failure = outcome.failure
    assert (failure.failure_class, failure.rank) == (FailureClass.HUNG, 1)
    assert "in forward of step 3 has made no progress for 8 s; waiting: rank 0" in failure.message
    assert "in hang" in failure.evidence
    assert "stacks of rank 0" in log and "all_reduce" in log


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_a_rank_that_is_stopped_is_named_though_others_are_no_further(tmp_path: Path, phase: str) -> None:
    code, outcome, _ = _run(tmp_path, 2, "1", "stop", "2", phase)
    assert code != 0
    assert outcome is not None and outcome.failure is not None
    assert (outcome.failure.failure_class, outcome.failure.rank) == (FailureClass.HUNG, 1)
    assert outcome.failure.evidence == ""


def test_where_all_are_as_far_it_is_said_that_one_is_a_guess(tmp_path: Path) -> None:
    _, outcome, log = _run(tmp_path, 2, "1", "python", "2", "backward")
    assert outcome is not None and outcome.failure is not None
    assert outcome.failure.failure_class is FailureClass.HUNG
    assert "as far as rank" in outcome.failure.message and "which of them" in outcome.failure.message
    assert "in hang" in log  # the stacks tell


@pytest.mark.parametrize("how", ["python", "lock"])
def test_a_job_of_one_rank_ends_too(tmp_path: Path, how: str) -> None:
    code, outcome, _ = _run(tmp_path, 1, "0", how, "2", "forward")
    assert code == -9
    assert outcome is not None and outcome.failure is not None
    assert (outcome.failure.failure_class, outcome.failure.rank) == (FailureClass.HUNG, 0)
    assert "in hang" in outcome.failure.evidence


def test_signs_of_an_earlier_try_are_none_of_this_one(tmp_path: Path) -> None:
    (tmp_path / "progress").mkdir()
    for rank in (0, 1):  # it had a rank more, and was killed long ago
        (tmp_path / "progress" / f"rank-{rank}").write_text(f"{2**22 + rank} 3 forward 1000.000\n")
    code, outcome, log = _run(tmp_path, 1, "0", "never", "1", "forward")
    assert (code, outcome) == (0, None), log


def test_a_rank_that_starts_again_takes_back_what_the_one_before_it_has_just_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faulthandler.register", lambda *_, **__: None)  # pytest's process keeps its own
    for rank in (0, 1):  # of ranks that were killed a moment ago: too young to be told from this attempt's by time
        (tmp_path / f"rank-{rank}").write_text(f"{2**22 + rank} 21 forward {time.time():.3f}\n")
    hang_watch.start(tmp_path, 1, 60, first_of_node=False)
    assert list(read(tmp_path)) == [0]
    Heartbeat(tmp_path, 0)
    hang_watch.start(tmp_path, 0, 60, first_of_node=False)
    assert [beat.pid for beat in read(tmp_path).values()] == [os.getpid()]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_job_that_makes_progress_is_left_alone(tmp_path: Path, ranks: int) -> None:
    code, outcome, log = _run(tmp_path, ranks, "0", "never", "1", "forward")
    assert (code, outcome) == (0, None)
    assert log.count("through") == ranks
