"""Reading from a pod's log what its clients were answered, whatever becomes of the log's connection."""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.demo.cluster.traffic import PodTraffic
from bulkhead.demo.traffic import Answer
from bulkhead.errors import UnavailableError
from tests.waiting import until

ANSWER = Answer(1.0, "digits-1", True, True, 0.01)


def _line(number: int) -> bytes:
    return json.dumps({"number": number, **asdict(ANSWER)}).encode() + b"\n"


class OnePod:
    """The clients' pod. Attributes: logs: what is said to each that reads the log, (bytes, whether it is cut)."""

    def __init__(self) -> None:
        self.logs: list[tuple[bytes, bool]] = []
        self.phase, self.ended = "Running", threading.Event()
        self.refusals = [400]
        pod = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                pod.read(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.say(pod.document())

            def do_DELETE(self) -> None:
                pod.ended.set()
                self.say(pod.document())

            def say(self, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def document(self) -> dict[str, Any]:
        return {"metadata": {"name": "clients"}, "status": {"phase": self.phase}}

    def read(self, handler: Any) -> None:
        if "/log" not in handler.path:
            handler.say(self.document())
        elif "tailLines" in handler.path:
            handler.send_response(200)
            handler.send_header("Content-Length", "9")
            handler.end_headers()
            handler.wfile.write(b"Traceback")
        elif not self.logs:
            handler.send_error(self.refusals.pop(0) if len(self.refusals) > 1 else self.refusals[0])
        else:
            text, cut = self.logs.pop(0)
            if b"sent" in text:
                self.ended.wait(30)
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(text) + (10 if cut else 0)))
            handler.end_headers()
            handler.wfile.write(text)
            handler.close_connection = True


@pytest.fixture
def pod() -> Iterator[OnePod]:
    made = OnePod()
    yield made
    made.ended.set()
    made.server.shutdown()
    made.server.server_close()


def _traffic(pod: OnePod) -> PodTraffic:
    host = f"http://127.0.0.1:{pod.server.server_address[1]}"
    return PodTraffic(k8s.ApiClient(k8s.Configuration(host=host)), {"metadata": {"name": "clients"}})


def test_a_log_that_is_cut_is_read_anew_and_nothing_counts_twice(pod: OnePod) -> None:
    first = _line(0) + _line(1)
    pod.logs = [(first + _line(2)[:20], True), (first + _line(2), False), (first + _line(2) + b'{"sent": 3}\n', False)]
    traffic = _traffic(pod)
    traffic.start()
    until(lambda: len(traffic.answers) == 3, "the answers")
    traffic.stop()
    assert traffic.answers == [ANSWER] * 3
    assert len(traffic.between(0.5, 1.5)) == 3 and not traffic.between(2, 3)


def test_a_pod_that_the_kubelet_does_not_know_yet_is_waited_for_and_one_whose_log_is_forbidden_is_not(
    pod: OnePod,
) -> None:
    pod.refusals = [404, 400, 403]
    traffic = _traffic(pod)
    traffic.start()

    def refused() -> str:
        try:
            traffic.check()
        except UnavailableError as error:
            return str(error)
        return ""

    assert until(refused, "the refusal") == "the clients' log cannot be read: Forbidden"
    assert pod.refusals == [403]


def test_an_answer_that_did_not_arrive_is_missed(pod: OnePod) -> None:
    pod.logs = [(_line(0) + b'{"sent": 2}\n', False)]
    traffic = _traffic(pod)
    traffic.start()
    pod.ended.set()
    with pytest.raises(UnavailableError, match="of 2 answers to the clients 1 were seen here"):
        traffic.stop()


def test_clients_that_fail_are_an_error_with_their_last_words(pod: OnePod) -> None:
    pod.phase = "Failed"
    traffic = _traffic(pod)
    traffic.start()

    def failed() -> str:
        try:
            traffic.check()
        except UnavailableError as error:
            return str(error)
        return ""

    assert until(failed, "the failure") == "the clients' pod has failed: Traceback"
