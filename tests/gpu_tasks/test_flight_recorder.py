"""NCCL's flight recorder, asked from outside. NCCL itself is played, by the code that torch 2.13 has for its pipe."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bulkhead.gpu_tasks import flight_recorder
from tests.waiting import until

NCCL = """
import os, select, sys
stem, dump, rank = os.environ["TORCH_NCCL_DEBUG_INFO_PIPE_FILE"], os.environ["TORCH_FR_DUMP_TEMP_FILE"], sys.argv[1]
pipe = f"{stem}{rank}.pipe"
os.mkfifo(pipe)
handle = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
print("listening", flush=True)
poll = select.poll()
poll.register(handle, select.POLLIN)
poll.poll()
open(f"{dump}{rank}", "w").write(os.environ["TORCH_FR_BUFFER_SIZE"])
sys.stdin.read()
"""


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    environment = {"PATH": os.environ["PATH"]}
    monkeypatch.setattr("os.getppid", os.getpid)  # the ranks of this test have it as their launcher
    flight_recorder.prepare(tmp_path / "progress", environment)
    started: list[subprocess.Popen[str]] = []

    def start(rank: int) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", NCCL, str(rank)], env=environment, stdin=pipe, stdout=pipe, text=True
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "listening\n"
        return process

    yield start
    for process in started:
        process.communicate()


def test_each_rank_that_listens_leaves_what_it_did(
    tmp_path: Path, ranks: Callable[[int], subprocess.Popen[str]]
) -> None:
    for rank in (0, 3):
        ranks(rank)
    (tmp_path / "progress" / "nccl-1").write_text("of an earlier try")
    found = flight_recorder.dump(tmp_path / "progress", os.getpid(), [0, 1, 3], patience_s=60)
    assert found == {rank: tmp_path / "progress" / f"nccl-{rank}" for rank in (0, 3)}
    assert {path.read_text() for path in found.values()} == {"2000"}


def test_a_rank_that_has_ended_is_not_waited_for(tmp_path: Path, ranks: Callable[[int], subprocess.Popen[str]]) -> None:
    process = ranks(0)
    process.kill()
    until(lambda: process.poll() is not None, "its end")
    assert flight_recorder.dump(tmp_path / "progress", os.getpid(), [0], patience_s=3600) == {}


def test_a_rank_that_does_not_write_is_left_out(tmp_path: Path, ranks: Callable[[int], subprocess.Popen[str]]) -> None:
    process = ranks(0)
    process.send_signal(19)  # stopped, as a rank that hangs may be
    found = flight_recorder.dump(tmp_path / "progress", os.getpid(), [0], patience_s=0.5)
    process.send_signal(18)
    assert found == {}


def test_without_nccl_nobody_is_asked(tmp_path: Path) -> None:
    assert flight_recorder.dump(tmp_path, os.getpid(), [0, 1], patience_s=3600) == {}


def test_what_the_user_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = {"TORCH_FR_BUFFER_SIZE": "9", "TORCH_FR_DUMP_TEMP_FILE": "/elsewhere/"}
    flight_recorder.prepare(tmp_path / "progress", environment)
    assert (environment["TORCH_FR_BUFFER_SIZE"], environment["TORCH_FR_DUMP_TEMP_FILE"]) == ("9", "/elsewhere/")
    assert Path(environment["TORCH_NCCL_DEBUG_INFO_PIPE_FILE"]).is_dir()
