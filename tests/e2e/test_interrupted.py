"""Ctrl-C in the middle: everything that was started is stopped."""

import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conftest import BULKHEAD, left_running
from tests.waiting import until

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_everything_it_started(number: signal.Signals, tmp_path: Path) -> None:
    folder, log = tmp_path / "site", tmp_path / "output"
    with log.open("wb") as output:
        command = [BULKHEAD, "demo", "--folder", str(folder)]
        # A shell has what it starts in the background ignore Ctrl-C, this test with it, and what it starts in turn.
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        demo = subprocess.Popen(command, stdout=output, stderr=output, preexec_fn=heard)
    try:
        until(lambda: "a first model" in log.read_text(), "Airflow and a training pod to run")
        assert len(left_running(folder)) > 5
        demo.send_signal(number)
        assert demo.wait(240) == 130
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
            subprocess.run([*command, "--stop"], check=True)
    assert "stopping everything that was started" in log.read_text()
    assert left_running(folder) == []
