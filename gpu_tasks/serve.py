"""``python -m gpu_tasks.serve``: MLflow's scoring server for one model, drained on SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gpu_tasks.entry import ConfigError, run
from gpu_tasks.predictions import Tally, read

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

LOOPBACK = "127.0.0.1"
"""Where servers listen unless told otherwise: nobody else reaches them there."""

_KEEP_ALIVE_S = 75
"""Longer than Envoy keeps an idle connection, so that the server is never the one to close it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and serve until SIGTERM.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="gpu_tasks.serve")
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
        counted(scoring_server.init(model), Tally()),
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=8,
        access_log=False,
        log_level="warning",
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn drains, then raises the signal again: an end, no failure
    uvicorn.Server(config).run(sockets=[listener])
    return {"model_uri": model_uri, "port": port}


def counted(server: Application, tally: Tally) -> Application:
    """The same server, with its answers counted and ``GET /statistics`` to read the counts.

    Args:
        server: ASGI application.
        tally: counts what ``/invocations`` answers.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path")
        if path == "/statistics" and scope.get("method") == "GET":
            await respond(send, 200, {"model": {"answers": tally.document()}})
            return
        await server(scope, receive, _Counting(send, tally) if path == "/invocations" else send)

    return answer


async def respond(send: Callable[[dict[str, Any]], Awaitable[None]], status: int, document: Any) -> None:
    """Answer a request with JSON.

    Args:
        send: ASGI's.
        status: of HTTP.
        document: what JSON can hold.
    """
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Counting:
    """Passes an answer on, and counts it at its end; one that failed is a failure and not an unusable answer."""

    def __init__(self, send: Any, tally: Tally) -> None:
        self._send, self._tally = send, tally
        self._status, self._body = 0, b""

    async def __call__(self, message: Mapping[str, Any]) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body" and 200 <= self._status < 300:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                self._tally.add(read(self._body))


def bind(port: int, host: str = LOOPBACK) -> socket.socket:
    """Listen.

    Args:
        port: TCP port.
        host: address.

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
