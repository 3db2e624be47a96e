import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bulkhead.demo.traffic import DemoTraffic, _digit
from tests.ports import free_port
from tests.waiting import until


class Model(BaseHTTPRequestHandler):
    """Answers 3 to everything, and every fifth request with 500."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    asked = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert len(body["inputs"][0]) == 64
        Model.asked += 1
        answer = json.dumps({"predictions": [3]}).encode()
        self.send_response(500 if Model.asked % 5 == 0 else 200)
        self.send_header("x-bulkhead-revision", "digits-1")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        return


def test_requests_go_out_at_their_rate_and_every_answer_is_checked() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    traffic = DemoTraffic(f"http://127.0.0.1:{server.server_address[1]}/invocations", rate=100)
    traffic.start()
    until(lambda: len(traffic.answers) >= 100, "a hundred answers")
    traffic.stop()
    server.shutdown()
    answers = traffic.answers
    assert all(answer.revision == "digits-1" and answer.error is None for answer in answers)
    assert sum(not answer.ok for answer in answers) == len(answers) // 5
    right = sum(answer.right for answer in answers if answer.ok)
    assert 0 < right < len(answers) / 2  # "3" is right for about a tenth
    times = [answer.at for answer in traffic.between(0, 1e12)]
    assert 0.5 < max(times) - min(times) < 10


def test_a_refused_connection_is_counted_by_kind() -> None:
    traffic = DemoTraffic(f"http://127.0.0.1:{free_port()}/invocations", rate=100)
    traffic.start()
    until(lambda: traffic.answers, "an answer")
    traffic.stop()
    assert {answer.error for answer in traffic.answers} == {"ClientConnectorError"}


def test_what_ends_the_thread_is_raised_to_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no data")

    monkeypatch.setattr("bulkhead.demo.traffic._images", broken)
    traffic = DemoTraffic("http://127.0.0.1:1/invocations", rate=1)
    traffic.start()
    with pytest.raises(RuntimeError, match="no data"):
        traffic.stop()


@pytest.mark.parametrize(
    ("body", "digit"),
    [
        (b'{"predictions": [7]}', 7),
        (b'{"predictions": [11]}', None),
        (b'{"predictions": ["7"]}', None),
        (b'{"predictions": []}', None),
        (b"{}", None),
        (b"7", None),
        (b"not json", None),
    ],
)
def test_an_answer_is_a_digit_or_nothing(body: bytes, digit: int | None) -> None:
    assert _digit(body) == digit
