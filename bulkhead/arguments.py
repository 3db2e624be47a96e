"""Checks of what an author writes, made where it is read: each error names the field, its value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bulkhead.errors import InvalidInputError, first_known
from bulkhead.text import is_storable

SERVICE_NAME = "use lower-case letters, digits and '-', at most 40, a letter first"
"""The remedy for what is no name of a service."""

Model = TypeVar("Model", bound=BaseModel)

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")


def text(field: str, value: Any) -> None:
    """Refuse what is no text, or an empty one, or one that cannot be kept.

    Args:
        field: name of it, as its author wrote it.

    Raises:
        InvalidInputError: it is.
    """
    if not isinstance(value, str) or not value.strip() or not is_storable(value):
        raise InvalidInputError(field, value, "give a text that is not empty, without control characters")


def service(field: str, value: Any) -> None:
    """Refuse what is no name of a service: it is part of paths, of host names and of revisions' names.

    Args:
        field: see ``text``.
        value: see ``text``.

    Raises:
        InvalidInputError: see ``text``.
    """
    if not is_service(value):
        raise InvalidInputError(field, value, SERVICE_NAME)


def is_function(value: Any) -> bool:
    """Whether a value names a function as ``package.module:function``."""
    return isinstance(value, str) and _FUNCTION.fullmatch(value) is not None


def function_name(field: str, value: Any) -> None:
    """Refuse what does not name a function as ``package.module:function``.

    Args:
        field: see ``text``.
        value: see ``text``.

    Raises:
        InvalidInputError: see ``text``.
    """
    if not is_function(value):
        raise InvalidInputError(field, value, "name a function as package.module:function")


def is_service(value: Any) -> bool:
    """Whether a value may be the name of a service."""
    return isinstance(value, str) and _SERVICE.fullmatch(value) is not None


def whole(field: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number of a range.

    Args:
        field: see ``text``.
        value: see ``text``.
        least: smallest that is taken.
        most: greatest that is taken; None for any.

    Raises:
        InvalidInputError: see ``text``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidInputError(field, value, f"give a whole number {span}")


def number(field: str, value: Any, accepts: Callable[[float], bool], remedy: str) -> None:
    """Refuse what is no number, or not one of a range; no range has NaN.

    Args:
        field: see ``text``.
        value: see ``text``.
        accepts: whether a number is of the range; by comparisons, which NaN fails.

    Raises:
        InvalidInputError: see ``text``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not accepts(value):
        raise InvalidInputError(field, value, remedy)


def duration(field: str, value: Any, least_s: int = 0) -> None:
    """Refuse what is no time above 0.

    Args:
        field: see ``text``.
        value: see ``text``.
        least_s: shortest that is taken, in seconds; 0 for any above 0.

    Raises:
        InvalidInputError: see ``text``.
    """
    if not isinstance(value, timedelta) or value <= timedelta(0) or value < timedelta(seconds=least_s):
        span = f"of at least {least_s} s" if least_s else "above 0"
        raise InvalidInputError(field, value, f"give a timedelta {span}")


def switch(field: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Args:
        field: see ``text``.
        value: see ``text``.

    Raises:
        InvalidInputError: see ``text``.
    """
    if not isinstance(value, bool):
        raise InvalidInputError(field, value, "give True or False")


def choice(field: str, value: Any, choices: Collection[str]) -> None:
    """Refuse what is none of some words.

    Args:
        field: see ``text``.
        value: see ``text``.

    Raises:
        InvalidInputError: see ``text``.
    """
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(field, value, f"give one of {', '.join(choices)}")


def texts(field: str, value: Any, least: int = 0) -> None:
    """Refuse what is no list of texts that are not empty; a text is none, though Python would take its letters.

    Args:
        field: see ``text``.
        value: see ``text``.
        least: so many of them at least.

    Raises:
        InvalidInputError: see ``text``.
    """
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence) or len(value) < least:
        raise InvalidInputError(field, value, f"give a list of{f' at least {least}' if least else ''} texts")
    for index, item in enumerate(value):
        text(f"{field}[{index}]", item)


def named_texts(field: str, value: Any) -> None:
    """Refuse what is no mapping of names to texts.

    Args:
        field: see ``text``.
        value: see ``text``.

    Raises:
        InvalidInputError: see ``text``.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(field, value, "give a mapping of names to texts")
    for name, item in value.items():
        text(field, name)
        if not isinstance(item, str):
            raise InvalidInputError(f"{field}[{name}]", item, "give a text")


def fields(field: str, value: Any, model: type[Model], is_open: Callable[[Any], bool], remedy: str) -> Model | None:
    """Refuse what is wrong of a mapping whatever its open values turn out to be.

    Args:
        field: see ``text``.
        value: see ``text``.
        model: whose fields the mapping has.
        is_open: whether a value, or one in it, will be known only later: a template.
        remedy: for what is no mapping.

    Returns:
        The model; None where an open value keeps it from being made.

    Raises:
        InvalidInputError: names the first offending field.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError(field, value, remedy)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        if (wrong := first_known(error, is_open, field)) is not None:
            raise wrong from error
        return None
