"""Waiting for a distributed job of the local runtime, by the same file watch as everybody else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Set
from typing import Any

from bulkhead.errors import NotFoundError
from bulkhead.operators.triggers.local_pod import LocalPodTrigger
from bulkhead.pods.ranks import JobState, job_state
from bulkhead.runtimes.local.tasks import documents, end_event, end_nodes, node_names

_SETTLE_S = 5.0


class LocalGangTrigger(LocalPodTrigger):
    """Fires when all nodes have succeeded, or one has failed and the others have had a moment to end as well.

    The event is ``{"why": ended | gone, "pods": […], "text": …}``, with the last state of each pod.

    Args:
        root: of the local runtime.
        name: of the job.
        nodes: how many pods it has, named after it and their rank.
    """

    def __init__(self, root: str, name: str, nodes: int) -> None:
        super().__init__(root, name)
        self.nodes = nodes
        self._failing_since: float | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        arguments = {"root": self.root, "name": self.name, "nodes": self.nodes}
        return (f"{type(self).__module__}.{type(self).__qualname__}", arguments)

    async def on_kill(self) -> None:
        """The task was marked or cleared by a person: take all nodes down."""
        await asyncio.to_thread(
            end_nodes, self.runtime, self.name, self.nodes, "its task was marked or cleared", timeout_s=25
        )

    def _concerned(self, changed: Set[str]) -> bool:
        return any(f"{self.namespace}.{name}" in changed for name in node_names(self.name, self.nodes))

    def _ended(self) -> bool:
        try:
            state = job_state(documents(self.runtime, self.name, self.nodes), self.nodes)
        except NotFoundError:
            return True
        if state is JobState.FAILING:
            self._failing_since = self._failing_since or time.monotonic()
            return time.monotonic() - self._failing_since > _SETTLE_S
        return state is not JobState.WAITING

    def _event(self) -> dict[str, Any]:
        return end_event(self.runtime, self.name, self.nodes)
