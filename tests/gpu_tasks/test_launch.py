"""Ranks that are restarted in place, or not, by what ended them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead.pods.outcome import PATH_VARIABLE, Failure, FailureClass, Outcome
from bulkhead.pods.training import CHECKPOINTS_VARIABLE
from tests.waiting import until

PROGRAM = "tests.programs.ranking"

pytestmark = pytest.mark.faults


class Launched:
    """A launcher with two ranks.

    Attributes: log (all that they said), process.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._folder, self.process = folder, process

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def end(self) -> Outcome:
        """Wait for it; what is left."""
        self.process.wait(240)
        outcome = Outcome.decode((self._folder / "message").read_text())
        assert outcome is not None, self.log
        return outcome

    def failure(self) -> Failure:
        """Wait for it; why it failed."""
        failure = self.end().failure
        assert failure is not None and self.process.returncode == 1
        return failure

    def attempts(self) -> set[str]:
        """Attempts in which a rank began."""
        return set(re.findall(r"^rank \d of 2, attempt (\d)", self.log, re.MULTILINE))


@contextmanager
def launched(folder: Path, plan: dict[str, str], *more: str, program: str = PROGRAM) -> Iterator[Launched]:
    command = [sys.executable, "-m", "bulkhead.gpu_tasks.launch", "--processes", "2", *more]
    command += ["-m", program, json.dumps(plan)]
    environment = {**os.environ, PATH_VARIABLE: str(folder / "message"), CHECKPOINTS_VARIABLE: str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield Launched(folder, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_ranks_that_succeed_leave_the_result_of_the_first(tmp_path: Path) -> None:
    with launched(tmp_path, {}) as job:
        assert job.end() == Outcome(result={"attempt": 0, "imported": False, "collects": True})
        assert (job.process.returncode, job.attempts()) == (0, {"0"})


def test_what_is_preloaded_is_imported_before_the_ranks_are_forked(tmp_path: Path) -> None:
    with launched(tmp_path, {}, "--preload", "colorsys") as job:
        assert job.end().result["imported"] is True


def test_a_rank_that_is_killed_is_restarted_with_all_others(tmp_path: Path) -> None:
    with launched(tmp_path, {"0/1": "kill", "0/0": "victim"}) as job:
        assert job.end().result == {"attempt": 1, "imported": False, "collects": True}
        assert (job.process.returncode, job.attempts()) == (0, {"0", "1"})


def test_it_names_the_rank_that_was_killed_and_not_the_one_that_lost_it(tmp_path: Path) -> None:
    (tmp_path / "step-0000000020").mkdir()
    (tmp_path / "step-0000000010").mkdir()
    with launched(tmp_path, {"0/1": "kill", "0/0": "victim"}, "--restarts", "0") as job:
        failure = job.failure()
    assert (failure.failure_class, failure.kind, failure.rank) == (FailureClass.APPLICATION, "killed", 1)
    assert failure.checkpoint == str(tmp_path / "step-0000000020")
    assert "Connection closed by peer" in job.log


def test_it_is_restarted_no_more_often_than_allowed(tmp_path: Path) -> None:
    with launched(tmp_path, {f"{n}/0": "kill" for n in range(9)}, "--restarts", "2") as job:
        assert job.failure().kind == "killed"
        assert job.attempts() == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("deed", "expected"),
    [("raise", (FailureClass.APPLICATION, "")), ("segfault", (FailureClass.APPLICATION, "segfault"))],
)
def test_what_the_program_did_itself_is_not_restarted(
    tmp_path: Path, deed: str, expected: tuple[FailureClass, str]
) -> None:
    with launched(tmp_path, {"0/1": deed, "0/0": "victim"}) as job:
        failure = job.failure()
        assert (failure.failure_class, failure.kind, failure.rank) == (*expected, 1)
        assert job.attempts() == {"0"}


def test_a_hang_is_restarted_once(tmp_path: Path) -> None:
    with launched(tmp_path, {"0/1": "hung", "1/0": "hung"}) as job:
        assert job.failure().failure_class is FailureClass.HUNG
        assert job.attempts() == {"0", "1"}


def test_told_to_end_it_has_the_ranks_save_and_is_not_restarted(tmp_path: Path) -> None:
    with launched(tmp_path, {"0/0": "wait", "0/1": "wait"}) as job:
        until(lambda: job.log.count("waiting") == 2, "the ranks")
        job.process.send_signal(signal.SIGTERM)
        failure = job.failure()
        assert (failure.failure_class, failure.checkpoint) == (FailureClass.PREEMPTED, "/checkpoints/step-0000000003")
        assert job.attempts() == {"0"}


def test_a_rank_that_does_not_end_with_the_others_is_killed(tmp_path: Path) -> None:
    with launched(tmp_path, {"0/0": "deaf", "0/1": "kill"}, "--restarts", "1") as job:
        assert job.end().result["attempt"] == 1


@pytest.mark.parametrize(
    ("more", "program", "message"),
    [
        (("--restarts", "-1"), PROGRAM, "restarts = -1: give at least 0"),
        (("--processes", "0"), PROGRAM, "processes = 0: give at least 1"),
        ((), "tests.programs.nothing", "module = 'tests.programs.nothing': No module named"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(
    tmp_path: Path, more: tuple[str, ...], program: str, message: str
) -> None:
    with launched(tmp_path, {}, *more, program=program) as job:
        failure = job.failure()
        assert failure.failure_class is FailureClass.CONFIG and message in failure.message
        assert job.attempts() == set()
