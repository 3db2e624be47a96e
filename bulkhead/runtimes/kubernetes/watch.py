"""One LIST + WATCH of a namespace's pods serves every wait of a process, however many pods and however long.

Sources: the Kubernetes API concepts page ("Efficient detection of changes", "Watch bookmarks", "410 Gone").
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiClient
from kubernetes_asyncio.client.rest import RESTClientObject

from bulkhead.errors import UnavailableError
from bulkhead.pods.status import of_task

log = logging.getLogger(__name__)

Connect = Callable[[], AbstractAsyncContextManager[ApiClient]]
"""Gives an authenticated client; called again after every break, so that an expired token is replaced."""

Pod = Mapping[str, Any]

_PAGE = 500
_WATCH_S = 300
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 30.0
_FINAL = {403: "forbidden", 404: "not found"}


class _GoneError(Exception):
    """The API server no longer has the version from which to watch: list again."""


class AnsweredError(Exception):
    """The API server answered with an error.

    Args:
        status: of HTTP.
        after_s: that it asks to wait, from ``Retry-After``.
    """

    def __init__(self, status: int, text: str, after_s: float | None = None) -> None:
        self.status, self.after_s = status, after_s
        super().__init__(f"{status}: {text[:300]}")


class PodWatch:
    """A view of a namespace's pods that keeps itself up to date.

    Args:
        connect: gives an authenticated client.
        selector: label selector of the pods that matter.
        silence_s: without a byte for so long, the connection is taken for dead. The API server sends a bookmark about
            once a minute.

    Attributes:
        pods: the latest state of each pod by name, cut down to what a wait needs.
        requests: how many requests were made.
    """

    def __init__(self, connect: Connect, namespace: str, selector: str, silence_s: float = 120.0) -> None:
        self._connect, self._namespace, self._selector, self._silence_s = connect, namespace, selector, silence_s
        self._version: str | None = None
        self._failures = 0
        self._api: ApiClient | None = None
        self._log_pool: RESTClientObject | None = None
        self.pods: dict[str, Pod] = {}
        self.requests = 0

    @property
    def synced(self) -> bool:
        """Whether the view is complete: a pod that is not in it does not exist."""
        return self._version is not None

    async def changes(self) -> AsyncIterator[set[str]]:
        """Keep the view up to date, for ever.

        Yields:
            Names of pods that changed or went away; after a list also an empty set.

        Raises:
            UnavailableError: the API server refuses for good (forbidden, no such namespace); says what is missing.
        """
        try:
            async with aclosing(self._for_ever()) as changes:
                async for changed in changes:
                    yield changed
        finally:
            if self._log_pool is not None:
                await self._log_pool.close()

    async def open_log(self, name: str, query: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Open the log of a pod, over the pool of connections that all logs of the namespace share.

        Args:
            query: parameters of the request.

        Raises:
            AnsweredError: the API server refuses.
            OSError, aiohttp.ClientError: it does not answer.
        """
        if self._api is None:
            raise ConnectionError("the cluster was not reached yet")
        if self._log_pool is None:  # one that outlives the watch's own connections: a break there is none here
            self._log_pool = RESTClientObject(self._api.configuration, maxsize=0)
        answer = await self._get(self._api, self._log_pool.pool_manager, f"pods/{name}/log", query, None)
        _keep_alive(answer)
        return answer

    async def _for_ever(self) -> AsyncGenerator[set[str]]:
        while True:
            try:
                async with self._connect() as api:
                    self._api = api
                    if self._version is None:
                        yield await self._list(api)
                    async for changed in self._watch(api):
                        self._failures = 0
                        yield changed
            except _GoneError:
                log.info("pods of %s: the version to watch from is gone; listing again", self._namespace)
                self._version = None
            except AnsweredError as error:
                if error.status in _FINAL:
                    raise self._refused(error) from error
                await self._wait(error, error.after_s)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                await self._wait(error, None)

    async def _list(self, api: ApiClient) -> set[str]:
        listed: dict[str, Pod] = {}
        token, version = "", ""
        while True:
            query = {"limit": str(_PAGE), **({"continue": token} if token else {})}
            async with await self._get_pods(api, query) as answer:
                document = await answer.json()
            listed |= {pod["metadata"]["name"]: _cut(pod) for pod in document.get("items") or []}
            token, version = document["metadata"].get("continue") or "", document["metadata"]["resourceVersion"]
            if not token:
                break
        changed = {name for name in listed | self.pods if listed.get(name) != self.pods.get(name)}
        self.pods, self._version = listed, version
        return changed

    async def _watch(self, api: ApiClient) -> AsyncIterator[set[str]]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "",
            "timeoutSeconds": str(_WATCH_S + random.randrange(60)),  # spread over the triggerers of a cluster
        }
        async with await self._get_pods(api, query) as answer:
            rest = b""
            while chunk := await answer.content.readany():  # the client's own read timeout notices silence
                *lines, rest = (rest + chunk).split(b"\n")
                changed = {name for line in lines if line.strip() and (name := self._take(json.loads(line)))}
                if changed:
                    yield changed

    def _take(self, event: Mapping[str, Any]) -> str | None:
        """Take an event into the view; its pod's name, or None for a bookmark."""
        kind, pod = event["type"], event["object"]
        if kind == "ERROR":
            if pod.get("code") == 410:
                raise _GoneError
            raise AnsweredError(int(pod.get("code") or 500), str(pod.get("message")))
        self._version = pod["metadata"].get("resourceVersion") or self._version
        if kind == "BOOKMARK":
            return None
        name = str(pod["metadata"]["name"])
        if kind == "DELETED":
            self.pods.pop(name, None)
        else:
            self.pods[name] = _cut(pod)
        return name

    async def _get_pods(self, api: ApiClient, query: Mapping[str, str]) -> aiohttp.ClientResponse:
        selected = {"labelSelector": self._selector, **query}
        return await self._get(api, api.rest_client.pool_manager, "pods", selected, self._silence_s)

    async def _get(
        self, api: ApiClient, pool: aiohttp.ClientSession, path: str, query: Mapping[str, str], silence_s: float | None
    ) -> aiohttp.ClientResponse:
        self.requests += 1
        headers: dict[str, str] = {"Accept": "application/json, */*"}
        await api.update_params_for_auth(headers, [], ["BearerToken"])
        url = f"{api.configuration.host}/api/v1/namespaces/{self._namespace}/{path}"
        answer = await pool.get(url, params=query, headers=headers, timeout=_timeout(silence_s))
        if answer.status == 410:
            answer.release()
            raise _GoneError
        if answer.status >= 400:
            text, after = await answer.text(), answer.headers.get("Retry-After", "")
            raise AnsweredError(answer.status, text, float(after) if after.isdigit() else None)
        return answer

    async def _wait(self, error: Exception, after_s: float | None) -> None:
        """Back off: doubling, with full jitter (so that many triggerers do not come back at once)."""
        self._failures += 1
        bound = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(self._failures, 10))
        delay = after_s if after_s is not None else random.uniform(0, bound)
        kind = type(error).__name__
        log.warning("pods of %s: %s %s; again in %.1f s", self._namespace, kind, error, delay)
        await asyncio.sleep(delay)

    def _refused(self, error: AnsweredError) -> UnavailableError:
        remedy = "create the namespace, or name another"
        if error.status == 403:
            remedy = "grant the service account the verbs list and watch on pods there (see docs/kubernetes.md)"
        return UnavailableError(
            f"pods of namespace {self._namespace!r}: {_FINAL[error.status]}: {remedy}; the API server says {error}"
        )


def _timeout(silence_s: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence_s)


def _keep_alive(answer: aiohttp.ClientResponse) -> None:
    """Have the kernel ask a silent peer whether it is there: a quiet log sends nothing for hours."""
    connection = answer.connection
    transport = connection.transport if connection is not None else None
    peer: socket.socket | None = transport.get_extra_info("socket") if transport is not None else None
    if peer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3)):
            peer.setsockopt(socket.IPPROTO_TCP, option, value)


def _cut(pod: Mapping[str, Any]) -> Pod:
    """What a wait needs of a pod; a thousand whole ones would be tens of megabytes."""
    metadata = pod["metadata"]
    kept = ("name", "namespace", "uid", "labels", "annotations", "deletionTimestamp", "creationTimestamp")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"nodeName": (pod.get("spec") or {}).get("nodeName")},
        "status": pod.get("status") or {},
    }


def ended(pod: Pod | None) -> bool:
    """Whether a pod's task is over, or it is not there.

    Args:
        pod: of a complete view, or None.
    """
    return pod is None or of_task(pod).ended
