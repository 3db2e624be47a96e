"""``python -m gpu_tasks.serve``: MLflow's scoring server for one model, drained on SIGTERM."""

from __future__ import annotations

import argparse
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_tasks.entry import ConfigError, run

_KEEP_ALIVE_S = 75
"""Longer than Envoy keeps an idle connection, so that the server is never the one to close it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and serve until SIGTERM.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="gpu_tasks.serve")
    parser.add_argument("--model-uri", required=True)
    parser.add_argument("--port", type=int, required=True, help="on loopback")
    arguments = parser.parse_args(argv)
    run(lambda: serve(arguments.model_uri, arguments.port))


def serve(model_uri: str, port: int) -> Mapping[str, Any]:
    """Serve a model: ``/ping``, ``/version`` and ``/invocations``, as MLflow documents them.

    The model answers its own input example before the port opens, so that no client meets a cold model.

    Args:
        model_uri: of a pyfunc model.
        port: TCP port on loopback.

    Returns:
        ``model_uri`` and ``port``, once it was told to stop.

    Raises:
        ConfigError: the port is in use.
    """
    listener = _bind(port)

    import mlflow
    import uvicorn
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(model_uri)
    if model.input_example is not None:
        model.predict(model.input_example)
    config = uvicorn.Config(
        scoring_server.init(model),
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=8,
        access_log=False,
        log_level="warning",
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn drains, then raises the signal again: an end, no failure
    uvicorn.Server(config).run(sockets=[listener])
    return {"model_uri": model_uri, "port": port}


def _bind(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(f"port = {port}: in use ({error.strerror}); give another") from error
    return listener


if __name__ == "__main__":
    main()
