"""Asking by HTTP, and numbers from an endpoint that answers with JSON."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.metrics.counters import Counters, load
from bulkhead.metrics.queries import Naming, filled
from bulkhead.settings import HttpSource
from bulkhead.text import bounded

_PATIENCE_S = 2.0
_MOST_BYTES = 4 * 1024 * 1024
_LONGEST_TEXT = 500


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
        UnavailableError: no server answers, or not with 200 and JSON.
    """
    return parse_json(url, get_body(url, timeout_s, token))


def parse_json(url: str, body: bytes) -> Any:
    """A JSON document that a server answered with.

    Args:
        url: of it, for the error.

    Raises:
        UnavailableError: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"{_shown(url)} answered with something else than JSON: {error}") from error


def get_text(url: str, timeout_s: float = 2.0, token: str | None = None) -> str:
    """GET a text.

    Args:
        url: ``http`` or ``https``.
        timeout_s: for connecting, and for each read, in seconds.
        token: sent as a bearer token.

    Returns:
        The body.

    Raises:
        InvalidInputError: no such URL.
        UnavailableError: no server answers, or not with 200.
    """
    return get_body(url, timeout_s, token).decode(errors="replace")


def get_body(
    url: str,
    timeout_s: float = 2.0,
    token: str | None = None,
    most_bytes: int = _MOST_BYTES,
    headers: Mapping[str, str] | None = None,
    error_of: Callable[[bytes], str | None] = lambda body: None,
) -> bytes:
    """GET whatever is there.

    Args:
        url: ``http`` or ``https``.
        timeout_s: for connecting, and for each read, in seconds.
        token: sent as a bearer token.
        most_bytes: a longer body is refused.
        headers: to send beside the token.
        error_of: finds the server's own words in the body of another answer than 200; None where it says none.

    Returns:
        The body, as it came.

    Raises:
        InvalidInputError: no such URL.
        UnavailableError: no server answers, or not with 200.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInputError("url", url, "give http://HOST[:PORT]/PATH or https://…")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    sent = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        connection.request("GET", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", headers=sent)
        answer = connection.getresponse()
        body = answer.read(most_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"{_shown(url)} does not answer: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        text = error_of(body) or body[:_LONGEST_TEXT].decode(errors="replace")
        raise UnavailableError(f"{_shown(url)} answered {answer.status}: {bounded(text, _LONGEST_TEXT)}")
    if len(body) > most_bytes:
        raise UnavailableError(f"{_shown(url)} answered with more than {most_bytes} bytes")
    return body


def read_counters(url: str, *names: str, timeout_s: float = 0.5, token: str | None = None) -> dict[str, Counters]:
    """Read counters that a server keeps by itself, in the form that ``bulkhead.metrics.counters`` describes.

    Args:
        url: of the server's statistics.
        names: of the counters that are wanted, each a member of the document.
        timeout_s: for connecting, and for each read, in seconds.
        token: sent as a bearer token.

    Returns:
        The counters by name.

    Raises:
        UnavailableError: no server answers, or with another form.
    """
    document = get_json(url, timeout_s, token)
    try:
        return {name: load(document[name]) for name in names}
    except (ValidationError, KeyError, TypeError) as error:
        raise UnavailableError(f"{_shown(url)} answers in another form than counters: {error}") from error


class HttpMetrics:
    """Counts what revisions do, as each says by itself in JSON (``bulkhead.gpu_tasks.serve`` does, at ``/statistics``).

    Args:
        source: where each says so.
        naming: what to fill into its URL.
    """

    def __init__(self, source: HttpSource, naming: Naming) -> None:
        self._source, self._naming = source, naming

    def counters(self, service: str, revisions: Collection[str]) -> Mapping[str, Counters]:
        """See ``Metrics.counters``.

        Raises:
            UnavailableError: one of them does not answer, or with another form.
            InvalidInputError: the token's variable is not set.
        """
        return {revision: self._counters(service, revision) for revision in revisions}

    def _counters(self, service: str, revision: str) -> Counters:
        url = filled(self._source.url, self._naming(service, revision))
        token = token_of(self._source.token_variable)
        return read_counters(url, self._source.member, timeout_s=_PATIENCE_S, token=token)[self._source.member]


def token_of(variable: str | None) -> str | None:
    """A bearer token.

    Args:
        variable: environment variable that holds it; None where none is needed.

    Raises:
        InvalidInputError: it is not set.
    """
    if variable is None:
        return None
    token = os.environ.get(variable)
    if not token:
        raise InvalidInputError("token_variable", variable, "set this environment variable to the bearer token")
    return token


def _shown(url: str) -> str:
    """Without what may be a secret: user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{':' + str(parts.port) if parts.port else ''}{parts.path}"
