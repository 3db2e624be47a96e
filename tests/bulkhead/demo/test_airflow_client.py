"""The demo's client of Airflow, over real HTTP."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bulkhead.demo import airflow_client
from bulkhead.demo.airflow_client import AirflowClient
from bulkhead.errors import UnavailableError


class Busy(ThreadingHTTPServer):
    """An api-server that is silent for its first requests.

    Attributes: silent (how many), asked, answers (JSON by path; an empty object for others), refused (how many requests
    it answers first with its database's error).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.silent, self.asked, self.refused = 0, 0, 0
        self.answers: dict[str, str] = {}
        self.over = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Busy

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.asked <= self.server.silent:
            self.server.over.wait()
            return
        refused = self.server.asked <= self.server.refused
        said = '{"detail": {"reason":"Database error"}}' if refused else self.server.answers.get(self.path, "{}")
        body = said.encode()
        self.send_response(500 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PATCH = do_GET

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    monkeypatch.setattr(airflow_client, "_TIMEOUT_S", 0.2)
    made = Busy()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()
    thread.join()


def _call(busy: Busy, method: str) -> object:
    return AirflowClient(f"http://127.0.0.1:{busy.server_port}", "u", "p").call(method, "/x", authorized=False)


def test_a_read_is_tried_again_where_a_busy_server_is_silent(busy: Busy) -> None:
    busy.silent = 2
    assert _call(busy, "GET") == {}


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_what_its_database_refused_was_undone_and_is_asked_for_again(
    busy: Busy, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(airflow_client, "_WAIT_S", 0.0)
    busy.refused = 2
    assert _call(busy, method) == {}
    busy.refused = 100
    with pytest.raises(UnavailableError, match=r"answered 500 .*Database error"):
        _call(busy, method)


def test_not_for_ever(busy: Busy) -> None:
    busy.silent = 100
    with pytest.raises(UnavailableError, match="does not answer"):
        _call(busy, "GET")
    assert busy.asked == 4


def test_a_write_is_not_it_may_have_been_heard(busy: Busy) -> None:
    busy.silent = 1
    with pytest.raises(UnavailableError, match="does not answer"):
        _call(busy, "POST")
    assert busy.asked == 1


def test_the_log_is_that_of_the_latest_try(busy: Busy) -> None:
    task = "/api/v2/dags/d/dagRuns/r/taskInstances/t"
    busy.answers = {
        "/auth/token": '{"access_token": "x"}',
        task: '{"try_number": 2}',
        f"{task}/logs/2?full_content=true": '{"content": ["a line"]}',
    }
    assert "a line" in AirflowClient(f"http://127.0.0.1:{busy.server_port}", "u", "p").log("d", "r", "t")
