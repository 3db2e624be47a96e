"""Objects of a kind, kept up to date in a thread of its own: one LIST, then a WATCH.

Sources: the Kubernetes API concepts page ("Efficient detection of changes", "410 Gone"). For pods that tasks wait for
there is ``bulkhead.runtimes.kubernetes.watch``, which serves thousands of them in one event loop.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import urllib3
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.runtimes.kubernetes.objects import Document, Kind, path_of

log = logging.getLogger(__name__)

_WATCH_S = 10
"""A connection that has died without a word is noticed after so long: the API server ends each watch before."""

_SILENCE_S = 15
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 5.0


class Followed:
    """A view of some objects of a namespace.

    Args:
        api: of the cluster; not shared with other threads.
        selector: query parameters that choose them: ``labelSelector`` or ``fieldSelector``.
        changed: called in the thread whenever the view has changed, and once it is there.
    """

    def __init__(
        self, api: k8s.ApiClient, kind: Kind, namespace: str, selector: Mapping[str, str], changed: Callable[[], None]
    ) -> None:
        self._api, self._kind, self._selector, self._changed = api, kind, dict(selector), changed
        self._path = path_of(kind, namespace)
        self._version = ""
        self._objects: dict[str, Document] = {}
        self._trouble: str | None = f"the {kind.plural} of namespace {namespace} have not been read yet"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._for_ever, name=f"follow {kind.plural}", daemon=True)

    @property
    def objects(self) -> dict[str, Document] | None:
        """The objects by name as they were last heard of; None before that."""
        return self._objects if self._version else None

    @property
    def trouble(self) -> str | None:
        """Why they may be otherwise by now; None where the cluster answers."""
        return self._trouble

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; its thread may go on for as long as the API server keeps its last watch open."""
        self._stop.set()

    def _for_ever(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._list()
                self._tell(None)
                failures = 0
                while not self._stop.is_set() and self._watch():
                    pass
            except (ApiException, urllib3.exceptions.HTTPError, OSError, ValueError, KeyError) as error:
                failures += 1
                said = f"{error.status} {error.reason}" if isinstance(error, ApiException) else str(error)
                self._tell(f"{self._kind.plural}: {type(error).__name__}: {said}")
                delay = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, 10))
                log.warning("%s; again within %.1f s", self._trouble, delay)
                self._stop.wait(random.uniform(delay / 2, delay))

    def _tell(self, trouble: str | None) -> None:
        self._trouble = trouble
        self._changed()

    def _list(self) -> None:
        answer = json.loads(self._get(self._selector).data)
        self._objects = {item["metadata"]["name"]: item for item in answer["items"]}
        self._version = answer["metadata"]["resourceVersion"]

    def _watch(self) -> bool:
        """Take events for as long as the API server lets a watch be.

        Returns:
            Whether the next watch can go on from there; otherwise everything has to be read again.
        """
        query = {"watch": "true", "resourceVersion": self._version, "timeoutSeconds": str(_WATCH_S)}
        answer = self._get({**self._selector, **query})
        try:
            for line in _lines(answer):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    log.info("%s: %s; reading them again", self._kind.plural, event["object"].get("message"))
                    return False
                self._take(event["type"], event["object"])
        finally:
            answer.close()
        return True

    def _take(self, kind: str, changed: Document) -> None:
        name = changed["metadata"]["name"]
        others = {other: kept for other, kept in self._objects.items() if other != name}
        self._objects = others if kind == "DELETED" else {**others, name: changed}  # readers never see half a change
        self._version = changed["metadata"]["resourceVersion"]
        self._tell(None)

    def _get(self, query: Mapping[str, str]) -> Any:
        return self._api.call_api(
            self._path,
            "GET",
            query_params=list(query.items()),
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _preload_content=False,
            _request_timeout=(3.0, _SILENCE_S),
        )


def _lines(answer: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in answer.stream(amt=None, decode_content=False):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
