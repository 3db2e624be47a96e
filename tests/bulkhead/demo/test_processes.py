import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.demo.processes import Processes
from bulkhead.errors import UnavailableError
from tests.waiting import until

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_stopping_ends_what_ignores_sigterm_and_what_it_started(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkhead.demo.processes._STOP_S", 0.5)
    processes.start("stubborn", [sys.executable, "-c", STUBBORN], {})
    child = int(until(lambda: processes.log("stubborn").read_text().strip(), "the child"))
    message: list[str] = []
    processes.stop(message.append)
    assert not _alive(child)
    assert set(message) == {"stubborn"}


def test_one_that_ends_badly_is_named_with_its_last_words(processes: Processes) -> None:
    processes.start("broken", [sys.executable, "-c", "print('no port'); raise SystemExit(3)"], {})
    with pytest.raises(UnavailableError, match=r"(?s)broken ended with exit code 3; see .*broken\.log:\nno port"):
        until(processes.check, "the end to be noticed")


def test_one_that_was_to_end(processes: Processes) -> None:
    processes.run("job", [sys.executable, "-c", "pass"], {})
    assert until(lambda: processes.finished("job"), "the job") is True


def test_a_later_call_stops_what_an_earlier_one_left_and_no_stranger(tmp_path: Path) -> None:
    Processes(tmp_path).start("left", [sys.executable, "-c", "import time; time.sleep(60)"], {})
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    record = tmp_path / "processes.json"
    text = record.read_text()
    record.write_text(
        text[:-1] + f', {{"name": "x", "pid": {stranger.pid}, "started": "1"}}]'
    )  # a process id that was reused
    assert Processes(tmp_path).stop_recorded() == 1
    assert stranger.poll() is None
    assert Processes(tmp_path).stop_recorded() == 0
    stranger.kill()
    stranger.wait()
