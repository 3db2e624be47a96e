"""Calls a TaskFlow function in a pod: what ``@task.gpu_pod`` has ``python -c`` run there.

The text of this file is sent, so that an image needs no more than a Python (3.9 or later). Where it has Bulkhead, a
failure is told with its class (a GPU out of memory, a device's fault). Everything travels as JSON.
"""

from __future__ import annotations

import json
import linecache
import os
from pathlib import Path
from typing import Any

_MOST_BYTES = 4096
"""Of a termination message, which Kubernetes cuts."""


def call() -> dict[str, Any]:
    """Call the function of the environment with its arguments.

    Returns:
        The result as a pod's outcome has it.

    Raises:
        TypeError: it returned what is no JSON.
        ValueError: it returned too much.
    """
    source, given = os.environ["BULKHEAD_FUNCTION"], json.loads(os.environ["BULKHEAD_PARAMETERS"])
    name = given["function"]
    file = f"<task {name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # for tracebacks
    scope: dict[str, Any] = {"__name__": "__task__"}
    exec(compile(source, file, "exec"), scope)
    result = {"return_value": scope[name](*given["args"], **given["kwargs"])}
    try:
        size = len(_outcome(result))
    except (TypeError, ValueError) as wrong:
        raise TypeError(f"{name}() has to return JSON: {wrong}") from wrong
    if size > _MOST_BYTES:
        remedy = "put it into MLflow or a store, and return its name"
        raise ValueError(f"{name}() returned {size} bytes, and {_MOST_BYTES} fit: {remedy}")
    return result


def main() -> None:
    """Call the function, and leave its outcome."""
    try:
        from bulkhead.gpu_tasks.entry import run
    except ImportError:
        Path(os.environ["BULKHEAD_TERMINATION_LOG"]).write_bytes(_outcome(call()))
    else:
        run(call)


def _outcome(result: dict[str, Any]) -> bytes:
    return json.dumps({"version": 1, "result": result}, allow_nan=False).encode()


if __name__ == "__main__":
    main()
