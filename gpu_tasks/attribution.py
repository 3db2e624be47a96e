"""Whose mistake a failed prediction was: the client's, whose request does not meet the schema, or the model's."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_CLIENTS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""Codes with which MLflow refuses a request before the model sees it, or in its check of a model's type hints."""

_AFTER = "Error: "
"""In MLflow's refusals the reason follows, and before it the whole request, which must not be kept."""


@dataclass(frozen=True)
class Raised:
    """An error of one request.

    Attributes:
        by_model: whether the model raised it.
        text: for people.
    """

    by_model: bool
    text: str


_raised: ContextVar[list[Raised] | None] = ContextVar("raised", default=None)


@contextmanager
def noted() -> Iterator[list[Raised]]:
    """Note what is raised for one request, in whichever thread it is answered: the context goes along.

    Yields:
        What was raised so far.
    """
    raised: list[Raised] = []
    token = _raised.set(raised)
    try:
        yield raised
    finally:
        _raised.reset(token)


def attributing(model: Any) -> Any:
    """The same model, whose errors are noted with whose mistake they are.

    Args:
        model: of ``mlflow.pyfunc.load_model``; is changed.
    """
    predict = model.predict

    @functools.wraps(predict)
    def watched(*args: Any, **kwargs: Any) -> Any:
        try:
            return predict(*args, **kwargs)
        except Exception as error:
            noted_here = _raised.get()
            if noted_here is not None:
                noted_here.append(_whose(error))
            raise

    model.predict = watched
    return model


def _whose(error: Exception) -> Raised:
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException) and error.error_code in _CLIENTS:
        _, separator, reason = error.message.rpartition(_AFTER)
        return Raised(False, reason if separator else "the request does not meet the schema")
    return Raised(True, f"{type(error).__name__}: {error}")
