"""The demo's clients as a program: what it prints, and that its end loses nothing."""

import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bulkhead.demo.traffic import Answer


class Digits(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"predictions": [3]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def test_every_answer_is_a_line_and_the_last_says_how_many_there_were() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Digits)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/invocations"
    command = [sys.executable, "-m", "bulkhead.demo.clients", url, "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdout is not None
        first = clients.stdout.readline()
        clients.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in (first, *clients.stdout)]
        assert clients.wait(60) == 0
    server.shutdown()
    server.server_close()
    assert lines[-1] == {"sent": len(lines) - 1}
    assert [line.pop("number") for line in lines[:-1]] == list(range(len(lines) - 1))
    assert all(Answer(**line).ok for line in lines[:-1])
