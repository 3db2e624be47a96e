"""The logs of a pod's containers in its task's log, while they run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import aiohttp

from bulkhead.runtimes.kubernetes.logs import Follower

MAX_FOLLOWED = 256
"""So many pods at once have their logs followed by one triggerer; each takes a connection. The others' are read at
the end."""

_DRAIN_S = 3.0
_followed: set[int] = set()


class PodLogs:
    """Follows each container from its start.

    Args:
        pod: gives the pod as it is known now, or None.
        open_log: opens the pod's log with these query parameters.
        write: gets each line.
    """

    def __init__(
        self,
        pod: Callable[[], Mapping[str, Any] | None],
        open_log: Callable[[Mapping[str, str]], Awaitable[aiohttp.ClientResponse]],
        write: Callable[..., None],
    ) -> None:
        self._pod, self._open, self._write = pod, open_log, write
        self._followers: dict[str, tuple[Follower, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self._admitted: bool | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for _, task in self._followers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _followed.discard(id(self))

    def poll(self) -> None:
        """The pod has changed: follow what has started, and let what waits for an end poll again."""
        self._changed.set()
        self._changed = asyncio.Event()
        for container in started(self._pod()):
            if container not in self._followers and self._admit():
                follower = Follower(
                    partial(self._open_container, container),
                    partial(self._write, "[%s] %s", container),
                    partial(self._ended, container),
                    lambda: self._changed,
                )
                self._followers[container] = (follower, asyncio.ensure_future(follower.run()))

    async def drain(self) -> dict[str, dict[str, Any]]:
        """Wait a moment for what has still to come.

        Returns:
            By container: ``complete``, whether all of its log was read, and ``position``, see ``Position``.
        """
        self.poll()
        tasks = [task for _, task in self._followers.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=_DRAIN_S)
        return {
            name: {"complete": follower.complete, "position": vars(follower.position)}
            for name, (follower, _) in self._followers.items()
        }

    def _admit(self) -> bool:
        if self._admitted is None:
            self._admitted = len(_followed) < MAX_FOLLOWED
            if self._admitted:
                _followed.add(id(self))
            else:
                self._write("the logs of %d pods are followed already; this one's are read at its end", MAX_FOLLOWED)
        return self._admitted

    async def _open_container(self, container: str, query: Mapping[str, str]) -> aiohttp.ClientResponse:
        return await self._open({"container": container, **query})

    def _ended(self, container: str) -> bool:
        pod = self._pod()
        return pod is None or container not in _names(pod, "running")


def started(pod: Mapping[str, Any] | None) -> Sequence[str]:
    """Containers that have a log, in the order in which they start: init containers first.

    Args:
        pod: in its JSON form, or None.
    """
    return _names(pod or {}, "running", "terminated")


def _names(pod: Mapping[str, Any], *states: str) -> list[str]:
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return [
        str(container["name"])
        for container in statuses
        if any(state in (container.get("state") or {}) for state in states)
    ]
