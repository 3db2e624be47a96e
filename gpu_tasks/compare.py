"""``python -m bulkhead.gpu_tasks.compare``: answers mirrored requests twice, by candidate and by stable, and compares.

The router sends a copy of each request here and throws the answer away, so no client waits for the candidate, and none
sees what it says. Both revisions are asked, since the router does not tell what stable has answered the client. Stable
so has the mirrored share of the requests once more.
"""

from __future__ import annotations

import argparse
import http.client
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import Full, Queue
from typing import Any

from bulkhead.gpu_tasks import predictions
from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.serve import LOOPBACK, Application, bind, respond
from bulkhead.gpu_tasks.traffic import NO_ANSWER, Traffic

Address = tuple[str, int]
"""Host and TCP port."""

_WAITING = 256
"""Requests that wait at most; what comes beyond is dropped, and counted as such: a mirror must not pile up."""

_TIMEOUT_S = 30.0
_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "keep-alive", "te", "upgrade", "expect"}


@dataclass(frozen=True)
class ClientRequest:
    """A request to be answered twice.

    Attributes:
        method: of HTTP.
        path: with its query.
        headers: without those that belong to a connection.
        body: whole.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Side:
    """One of the two revisions, and what it did.

    Attributes:
        address: host and TCP port.
    """

    address: Address
    _tally: predictions.PredictionTally = field(default_factory=predictions.PredictionTally)
    _traffic: Traffic = field(default_factory=Traffic)

    def ask(self, request: ClientRequest) -> list[Any] | None:
        """Ask it, and count.

        Returns:
            The predictions; None where there are none.
        """
        begin = time.monotonic()
        status, body = self._send(request)
        self._traffic.add(status, (time.monotonic() - begin) * 1000)
        if not 200 <= status < 300:
            self._tally.fail(status, "")
            return None
        answers = predictions.read(body)
        self._tally.add(answers)
        return answers

    def agree(self, ours: list[Any], theirs: list[Any]) -> None:
        """Count whether its answer is the other's."""
        self._tally.compare(ours, theirs)

    def document(self) -> dict[str, Any]:
        """The counts, in the form of ``bulkhead.metrics.counters.CountersDocument``."""
        return {**self._traffic.document(), "answers": self._tally.document()}

    def _send(self, request: ClientRequest) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=_TIMEOUT_S)
        try:
            connection.request(request.method, request.path, body=request.body, headers=dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return NO_ANSWER, b""
        finally:
            connection.close()
        return answer.status, body


class Comparer:
    """Answers requests twice, a few at a time.

    Args:
        candidate: address of the revision on trial.
        stable: address of the one that serves.
        workers: requests at a time.
    """

    def __init__(self, candidate: Address, stable: Address, workers: int) -> None:
        self.candidate, self.stable = Side(candidate), Side(stable)
        self._waiting: Queue[ClientRequest] = Queue(_WAITING)
        self._dropped = 0
        for _ in range(workers):
            threading.Thread(target=self._work, daemon=True).start()

    def take(self, request: ClientRequest) -> None:
        """Have a request answered, soon; or drop it."""
        try:
            self._waiting.put_nowait(request)
        except Full:
            self._dropped += 1

    def compare(self, request: ClientRequest) -> None:
        """Ask both, in an order by chance: the second finds warmer caches."""
        sides = [self.candidate, self.stable]
        random.shuffle(sides)
        answers = {id(side): side.ask(request) for side in sides}
        ours, theirs = answers[id(self.candidate)], answers[id(self.stable)]
        if ours is not None and theirs is not None:
            self.candidate.agree(ours, theirs)

    def document(self) -> dict[str, Any]:
        """What both did, and how many requests were dropped."""
        documents = {"candidate": self.candidate.document(), "stable": self.stable.document()}
        return {**documents, "dropped": self._dropped}

    def _work(self) -> None:
        while True:
            self.compare(self._waiting.get())


def application(comparer: Comparer) -> Application:
    """The ASGI application: ``GET /ping``, ``GET /statistics``, and whatever else is a request to compare."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if (scope["method"], scope["path"]) == ("GET", "/statistics"):
            await respond(send, 200, comparer.document())
        elif (scope["method"], scope["path"]) == ("GET", "/ping"):
            await respond(send, 200, {})
        else:
            comparer.take(await _request(scope, receive))
            await respond(send, 202, {})

    return answer


async def _request(scope: Any, receive: Any) -> ClientRequest:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    names = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    headers = {name: value for name, value in names if name.lower() not in _HOP_BY_HOP}
    query = scope["query_string"].decode("latin-1")
    path = scope["raw_path"].decode("latin-1").partition("?")[0]
    return ClientRequest(scope["method"], f"{path}?{query}" if query else path, headers, body)


def serve(here: Address, candidate: Address, stable: Address, workers: int) -> Mapping[str, Any]:
    """Compare until SIGTERM.

    Args:
        here: address to listen on.
        candidate: address of the revision on trial.
        stable: address of the one that serves.
        workers: requests at a time.

    Returns:
        The counts at the end.

    Raises:
        ConfigError: the port is in use, or there is no worker.
    """
    if workers < 1:
        raise ConfigError(f"workers = {workers}: give at least 1")
    listener = bind(here[1], here[0])

    import uvicorn

    comparer = Comparer(candidate, stable, workers)
    config = uvicorn.Config(
        application(comparer), access_log=False, log_level="warning", lifespan="off", timeout_graceful_shutdown=2
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn ends, then raises the signal again: an end, no failure
    uvicorn.Server(config).run(sockets=[listener])
    document = comparer.document()
    return {"requests": document["candidate"]["requests"], "dropped": document["dropped"]}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and compare until SIGTERM.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.compare")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on; in a cluster 0.0.0.0")
    parser.add_argument("--candidate", type=_address, required=True, help="HOST:PORT of the revision on trial")
    parser.add_argument("--stable", type=_address, required=True, help="HOST:PORT of the revision that serves")
    parser.add_argument("--workers", type=int, default=4, help="requests at a time")
    arguments = parser.parse_args(argv)
    here = arguments.host, arguments.port
    run(lambda: serve(here, arguments.candidate, arguments.stable, arguments.workers))


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: give HOST:PORT")
    return host, int(port)


if __name__ == "__main__":
    main()
