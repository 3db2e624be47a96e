"""What of an operator's arguments is known when the DAG is read: all but templates and other tasks' results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import XComArg

_MARKS = ("{{", "{%", "{#")


def is_templated(value: Any) -> bool:
    """Whether a value, or one in it, is only known when the task runs.

    Args:
        value: an argument of an operator.
    """
    if isinstance(value, str):
        return any(mark in value for mark in _MARKS)
    if isinstance(value, Mapping):
        return any(is_templated(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return any(is_templated(part) for part in value)
    return isinstance(value, XComArg)


def check_known(check: Callable[..., None], field: str, value: Any, *more: Any) -> None:
    """Check an argument that may hold a template, where it holds none.

    Args:
        check: takes ``field``, ``value`` and ``more``; one of ``bulkhead.arguments``.
        field: name of the argument.
        more: see ``check``.

    Raises:
        InvalidInputError: see ``check``.
    """
    if not is_templated(value):
        check(field, value, *more)
