"""What is answered to those who look: made again only where the ledger has changed, however many ask for it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from bulkhead.commands import Commands
from bulkhead.errors import BulkheadError, InvalidInputError
from bulkhead.ledger.changes import Changes
from bulkhead.web.response_cache import ResponseCache

Document = TypeVar("Document", bound=BaseModel)

REVALIDATED = {"Cache-Control": "private, no-cache"}


class Opened:
    """The commands of a control plane, made for the first request and kept; made again where that has failed.

    Args:
        make: makes them.
    """

    def __init__(self, make: Callable[[], Commands]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._commands: Commands | None = None

    def give(self) -> Commands:
        """They.

        Raises:
            BulkheadError: the configuration is wrong, or the ledger does not answer.
        """
        with self._lock:
            if self._commands is None:
                try:
                    self._commands = self._make()
                except InvalidInputError as error:  # nothing that was asked is wrong
                    raise BulkheadError(f"Bulkhead's configuration: {error}") from error
            return self._commands


class Responses:
    """What is answered to requests that read.

    Args:
        opened: gives the ledger.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened, self._cache = opened, ResponseCache(self._changes)

    def give(
        self,
        request: Request,
        make: Callable[[Commands], Document],
        topics: Callable[[Document], Collection[str]],
    ) -> Response:
        """Answer a request; with the tag of what is known already, that it has not changed.

        Args:
            make: reads the answer from the ledger.
            topics: those of the ledger, by the answer, which it depends on.
        """

        def made() -> tuple[Document, Collection[str]]:
            document = make(self._opened.give())
            return document, topics(document)

        body = self._cache.give(f"{request.url.path}?{request.url.query}", made)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, **REVALIDATED}
        if tag in [given.strip().removeprefix("W/") for given in request.headers.get("If-None-Match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    def forget(self) -> None:
        """Drop what is kept: whoever asks from now on is told of what has just changed."""
        self._cache.clear()

    def _changes(self, before: Changes) -> Changes:
        return self._opened.give().ledger.overview.changes(before)
