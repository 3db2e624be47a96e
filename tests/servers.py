"""HTTP: a small server that says its name, and a client that counts what it gets."""

import http.client
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bulkhead.errors import UnavailableError
from bulkhead.metrics.http_json import get_json
from bulkhead.routers.envoy.config import REVISION_HEADER
from tests.waiting import until


class Backend:
    """Answers every request with its name.

    Args:
        name: in the body.
        status: of every answer.

    Attributes:
        name: as given; a test may change it.
        asked: method, path and body of each request so far.
    """

    def __init__(self, name: str, status: int = 200) -> None:
        asked: list[tuple[str, str, bytes]] = []
        self.name, self.asked, own = name, asked, self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: two would wait 40 ms for each other's acknowledgement

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                asked.append((self.command, self.path, self.rfile.read(length)))
                body = own.name.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def get(port: int, path: str = "/", **headers: str) -> tuple[int, str, str | None]:
    """Status, body and revision header of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader(REVISION_HEADER)
    finally:
        connection.close()


def post(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of one request with a body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body=body, headers={"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def count(port: int, requests: int) -> Counter[str]:
    """Bodies of so many requests."""
    return Counter(get(port)[1] for _ in range(requests))


def serving(service: str, revision: str) -> dict[str, str]:
    """Names of a revision's server in a namespace called ``serving``."""
    return {"namespace": "serving", "service": service, "revision": revision, "backend": f"serve-{revision}"}


def until_json(url: str, what: str) -> None:
    """Wait until a server answers with JSON."""

    def answers() -> bool:
        try:
            return bool(get_json(url))
        except UnavailableError:
            return False

    until(answers, what)
