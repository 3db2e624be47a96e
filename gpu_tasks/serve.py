"""``python -m bulkhead.gpu_tasks.serve``: MLflow's scoring server for one model, drained on SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from bulkhead.gpu_tasks.attribution import Raised, attributing, noted
from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.predictions import PredictionTally, read
from bulkhead.gpu_tasks.traffic import NO_ANSWER, Traffic

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

LOOPBACK = "127.0.0.1"
"""Where servers listen by default: only this machine reaches them there."""

_KEEP_ALIVE_S = 75
"""Longer than Envoy keeps an idle connection, so that the server is never the one to close it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and serve until SIGTERM.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.serve")
    parser.add_argument("--model-uri", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on; in a cluster 0.0.0.0")
    arguments = parser.parse_args(argv)
    run(lambda: serve(arguments.model_uri, arguments.port, arguments.host))


def serve(model_uri: str, port: int, host: str = LOOPBACK) -> Mapping[str, Any]:
    """Serve a model: ``/ping``, ``/version`` and ``/invocations``, as MLflow documents them, and ``/statistics``.

    The model answers its own input example before the port opens, so that no client meets a cold model.

    Args:
        model_uri: of a pyfunc model.
        port: TCP port.
        host: address to listen on.

    Returns:
        ``model_uri`` and ``port``, once it was told to stop.

    Raises:
        ConfigError: the port is in use.
    """
    listener = bind(port, host)

    import mlflow
    import uvicorn
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(model_uri)
    if model.input_example is not None:
        model.predict(model.input_example)
    config = uvicorn.Config(
        counted(scoring_server.init(attributing(model)), PredictionTally(), Traffic()),
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=8,
        access_log=False,
        log_level="warning",
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn drains, then raises the signal again: an end, no failure
    uvicorn.Server(config).run(sockets=[listener])
    return {"model_uri": model_uri, "port": port}


def counted(server: Application, tally: PredictionTally, traffic: Traffic) -> Application:
    """The same server, with its answers counted; ``GET /statistics`` and, for Prometheus, ``/metrics`` tell the counts.

    Args:
        tally: counts what ``/invocations`` answers.
        traffic: counts requests to it.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        match scope.get("method"), scope.get("path"):
            case "GET", "/statistics":
                await respond(send, 200, {"model": {**traffic.document(), "answers": tally.document()}})
            case "GET", "/metrics":
                await respond_text(send, 200, traffic.exposition(), b"text/plain; version=0.0.4")
            case _, "/invocations":
                with noted() as raised:
                    counting = _Counting(send, tally, traffic, raised)
                    try:
                        await server(scope, receive, counting)
                    finally:
                        counting.finish()
            case _:
                await server(scope, receive, send)

    return answer


async def respond(send: Callable[[dict[str, Any]], Awaitable[None]], status: int, document: Any) -> None:
    """Answer a request with JSON.

    Args:
        status: of HTTP.
        document: what JSON can hold.
    """
    await respond_text(send, status, json.dumps(document), b"application/json")


async def respond_text(send: Callable[[dict[str, Any]], Awaitable[None]], status: int, text: str, kind: bytes) -> None:
    """Answer a request.

    Args:
        status: of HTTP.
    """
    body = text.encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Counting:
    """Passes an answer on, and counts it at its end; one that failed is a failure and not an unusable answer.

    MLflow's scoring server says 400 to a request that does not meet the schema and to a model that raised alike: the
    latter is made a 500, since no client can mend it.
    """

    def __init__(self, send: Any, tally: PredictionTally, traffic: Traffic, raised: list[Raised]) -> None:
        self._send, self._tally, self._traffic, self._raised = send, tally, traffic, raised
        self._begin = time.monotonic()
        self._status, self._body, self._whole = NO_ANSWER, b"", False

    async def __call__(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] == 400 and any(self._raised_by_model()):
            message = {**message, "status": 500}
        await self._send(message)
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"") if 200 <= self._status < 300 else b""
            self._whole = not message.get("more_body", False)

    def finish(self) -> None:
        """The answer is out, or broke off."""
        status = self._status if self._whole else NO_ANSWER
        self._traffic.add(status, (time.monotonic() - self._begin) * 1000)
        if 200 <= status < 300:
            self._tally.add(read(self._body))
        else:
            self._tally.fail(status, self._raised[-1].text if self._raised else "")

    def _raised_by_model(self) -> Iterator[bool]:
        return (error.by_model for error in self._raised)


def bind(port: int, host: str = LOOPBACK) -> socket.socket:
    """Listen.

    Args:
        port: TCP port.

    Raises:
        ConfigError: the port is in use, or the address is not this machine's.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise ConfigError(f"port = {port}: in use at {host} ({error.strerror}); give another") from error
    return listener


if __name__ == "__main__":
    main()
