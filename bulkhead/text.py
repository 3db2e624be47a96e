"""Text from outside, made fit to be kept and shown.

What pods, models, registries, metrics and alerts say is written by strangers: it may hold bytes that no database
takes (NUL, half of a surrogate pair), codes that move a terminal's cursor, or a megabyte of one line. Containment must
not hang on that. The ledger's column types (``bulkhead.ledger.columns``) and outcomes (``bulkhead.pods.outcome``) pass
every text through here, so that no writer has to remember it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_TEXT = 8_000
"""Longest text that is kept of one sentence from outside, in characters."""

MAX_NAME = 500
"""Longest name of a field that is kept in a document, in characters."""

REPLACEMENT = "\ufffd"
"""Stands for each character that cannot be kept."""

_CUT = "…"
_MAX_DEPTH = 40
# PostgreSQL takes no NUL, no encoder takes half of a surrogate pair, and the other control characters (all but tab and
# line ends) let a text rewrite what a terminal shows beside it.
_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_UNKEPT = re.compile("[\x00\ud800-\udfff]")
_TERMINAL_CODES = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]")


def storable(text: str) -> str:
    """A text that every database and encoder takes.

    Args:
        text: from anywhere.

    Returns:
        The text without a terminal's colours, and with U+FFFD for each control character but tab and line ends, and for
        each unpaired surrogate.
    """
    return _UNSTORABLE.sub(REPLACEMENT, _TERMINAL_CODES.sub("", text))


def is_storable(text: str) -> bool:
    """Whether a text can be kept as it is.

    Args:
        text: from anywhere.
    """
    return _UNSTORABLE.search(text) is None


def bounded(text: str, most: int = MAX_TEXT) -> str:
    """The beginning of a text, storable.

    Args:
        text: from anywhere.
        most: longest result, in characters; at least 1.

    Returns:
        At most so many characters; the last one is an ellipsis where something was cut.
    """
    # Cut before the search as well: a text of a gigabyte is not worth reading to its end.
    clean = storable(text[: 2 * most + 1])
    return clean if len(clean) <= most and len(text) <= 2 * most else clean[: most - 1] + _CUT


def identifier(text: str, most_bytes: int) -> str:
    """A name or key that fits its column, and is equal for equal texts and different for different ones.

    Args:
        text: from anywhere.
        most_bytes: longest result in UTF-8; at least 32.

    Returns:
        The text as it is, where it fits and can be kept; else its beginning, ``~`` and 16 hex digits of its SHA-256.
        Of a result, the result itself.
    """
    if is_storable(text) and len(text.encode()) <= most_bytes:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    kept = _UNSTORABLE.sub(REPLACEMENT, text[:most_bytes]).encode()[: most_bytes - len(digest) - 1]
    return f"{kept.decode(errors='ignore')}~{digest}"


def document(value: Any, most: int | None = MAX_TEXT) -> Any:
    """A JSON document of which every text is storable and bounded.

    Args:
        value: what ``json`` can write, of any content. Other objects are left as they are, for ``json`` to refuse.
        most: longest text in it, in characters; None for any.

    Returns:
        A copy. Numbers that JSON does not have (NaN, infinities) are their names; what is nested more than 40 deep is
        an ellipsis.
    """
    return _document(value, most, _MAX_DEPTH)


def _document(value: Any, most: int | None, depth: int) -> Any:
    if isinstance(value, str):  # of a StrEnum, its value
        return storable(str(value)) if most is None else bounded(str(value), most)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth == 0:
        return _CUT
    if isinstance(value, Mapping):
        return {
            bounded(key, MAX_NAME) if isinstance(key, str) else key: _document(item, most, depth - 1)
            for key, item in value.items()
        }
    return [_document(element, most, depth - 1) for element in value]


def unkept(field: str, value: Any) -> tuple[str, Any, str] | None:
    """What no database can keep to the letter, in a text or a JSON document of which nothing may be changed.

    Args:
        field: name of it, as its author wrote it.
        value: a text or a document.

    Returns:
        Dotted name and value of the first NUL, half of a surrogate pair, or number that JSON does not have, with what
        would be accepted; None where there is none.
    """
    for name, item in _leaves(field, value):
        if isinstance(item, str) and _UNKEPT.search(item):
            return name, item, "leave out NUL characters and halves of surrogate pairs"
        if isinstance(item, float) and not math.isfinite(item):
            return name, item, "give a finite number"
    return None


def _leaves(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Each text and number of a document with its dotted name; a field's own name counts as a text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield field, key
            yield from _leaves(f"{field}.{key}", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(f"{field}.{index}", item)
    else:
        yield field, value
