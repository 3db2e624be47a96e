"""``python -m bulkhead.gpu_tasks.entrypoint package.module:function``: a training of the user's own as a pod's program.

The function is called with the parameters of ``TrainOperator``, and finds its MLflow run as mlflow does. What it
returns is the task's result: a mapping with ``model_uri`` and whatever else is small and JSON, the URI itself, or what
MLflow's ``log_model`` returns; where it returns None, the model that it has logged last counts.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call
from pydantic.errors import PydanticUserError

from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.functions import function
from bulkhead.pods.training import PARAMETERS_VARIABLE


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and call the function.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.entrypoint")
    parser.add_argument("entrypoint", help="package.module:function")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    run(lambda: call(arguments.entrypoint, json.loads(os.environ.get(PARAMETERS_VARIABLE) or "{}")))


def call(entrypoint: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call a training.

    Args:
        entrypoint: ``package.module:function``.
        parameters: by name; a text becomes what the function's annotation says, as Airflow's templates give texts.

    Returns:
        The result: see the module.

    Raises:
        ConfigError: the function cannot be imported, does not take these parameters, or returns what is no result.
    """
    train = function("entrypoint", entrypoint)
    _check_names(entrypoint, train, parameters)
    try:
        validated = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(train)
    except (PydanticUserError, NameError):  # annotations that nothing can be checked by
        validated = train
    try:
        returned = validated(**parameters)
    except ValidationError as wrong:
        if wrong.title != getattr(train, "__name__", ""):
            raise  # of the program's own making
        first = wrong.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"parameters[{name}] = {first['input']!r}: {entrypoint} says: {first['msg']}") from wrong
    return _result(entrypoint, returned)


def _check_names(entrypoint: str, train: Callable[..., Any], parameters: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(train)
    except ValueError:  # written in C
        return
    try:
        signature.bind(**parameters)
    except TypeError as wrong:
        named = ", ".join(parameters) or "none"
        raise ConfigError(
            f"parameters = {named}: {entrypoint}{signature} says: {wrong}; give those it takes"
        ) from wrong


def _result(entrypoint: str, returned: Any) -> Mapping[str, Any]:
    if returned is None:
        return {}
    if isinstance(returned, str):
        return {"model_uri": returned}
    if isinstance(returned, Mapping):
        return returned
    if isinstance(uri := getattr(returned, "model_uri", None), str):
        return {"model_uri": uri}
    raise ConfigError(
        f"entrypoint = {entrypoint!r}: it returned a {type(returned).__name__}; let it return the URI of the model "
        "that it has logged (mlflow.….log_model(…).model_uri), or a mapping with model_uri"
    )


if __name__ == "__main__":
    main()
