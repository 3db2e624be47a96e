"""The demo's clients as a program: what it prints, and that its end loses nothing."""

import json
import signal
import subprocess
import sys

from bulkhead.demo.traffic import Answer
from tests.servers import Backend


def test_every_answer_is_a_line_and_the_last_says_how_many_there_were() -> None:
    server = Backend('{"predictions": [3]}')
    url = f"http://127.0.0.1:{server.port}/invocations"
    command = [sys.executable, "-m", "bulkhead.demo.clients", url, "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdout is not None
        first = clients.stdout.readline()
        clients.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in (first, *clients.stdout)]
        assert clients.wait(60) == 0
    server.stop()
    assert lines[-1] == {"sent": len(lines) - 1}
    assert [line.pop("number") for line in lines[:-1]] == list(range(len(lines) - 1))
    assert all(Answer(**line).ok for line in lines[:-1])
