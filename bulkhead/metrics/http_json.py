"""Numbers from an HTTP endpoint that answers with JSON."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.metrics.counters import Counters, load

_MOST_BYTES = 4 * 1024 * 1024


def get_json(url: str, timeout_s: float = 2.0, token: str | None = None) -> Any:
    """GET a JSON document.

    Args:
        url: ``http`` or ``https``.
        timeout_s: for connecting, and for each read, in seconds.
        token: sent as a bearer token.

    Returns:
        The document.

    Raises:
        InvalidInputError: no such URL.
        UnavailableError: nobody answers, or not with 200 and JSON.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInputError("url", url, "give http://HOST[:PORT]/PATH or https://…")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    headers = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        connection.request("GET", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", headers=headers)
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"{_shown(url)} does not answer: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise UnavailableError(f"{_shown(url)} answered {answer.status}: {body[:200].decode(errors='replace')}")
    if len(body) > _MOST_BYTES:
        raise UnavailableError(f"{_shown(url)} answered with more than {_MOST_BYTES} bytes")
    try:
        return json.loads(body)
    except ValueError as error:
        raise UnavailableError(f"{_shown(url)} answered with something else than JSON: {error}") from error


def read_counters(url: str, *names: str, timeout_s: float = 0.5) -> dict[str, Counters]:
    """Read counters that a server keeps by itself, in the form that ``bulkhead.metrics.counters`` describes.

    Args:
        url: of the server's statistics.
        names: of the counters that are wanted, each a member of the document.
        timeout_s: for connecting, and for each read, in seconds.

    Returns:
        The counters by name.

    Raises:
        UnavailableError: nobody answers, or with another form.
    """
    document = get_json(url, timeout_s)
    try:
        return {name: load(document[name]) for name in names}
    except (ValidationError, KeyError, TypeError) as error:
        raise UnavailableError(f"{_shown(url)} answers in another form than counters: {error}") from error


def _shown(url: str) -> str:
    """Without what may be a secret: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{':' + str(parts.port) if parts.port else ''}{parts.path}"
