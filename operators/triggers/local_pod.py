"""Waiting for a pod of the local runtime: one file watch serves every deferred task of a triggerer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Set
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from bulkhead.errors import NotFoundError
from bulkhead.runtimes.local.runtime import LocalRuntime
from bulkhead.runtimes.local.tasks import end_event
from bulkhead.runtimes.local.watch import changes


class LocalPodTrigger(BaseEventTrigger):
    """Fires when a pod has ended, or is gone: ``{"why": ended | gone, "pod": …, "text": …}``, with its last state.

    Args:
        root: of the local runtime.
        name: of the pod.
        namespace: of the pod.
    """

    def __init__(self, root: str, name: str, namespace: str = "default") -> None:
        super().__init__()
        self.root, self.name, self.namespace = root, name, namespace
        self.runtime = LocalRuntime(root)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        arguments = {"root": self.root, "name": self.name, "namespace": self.namespace}
        return (f"{type(self).__module__}.{type(self).__qualname__}", arguments)

    def shared_stream_key(self) -> Hashable:
        """One watch a runtime root."""
        return ("bulkhead-local-pods", self.root)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[set[str]]:
        """Watch the runtime's status folder.

        Args:
            kwargs: of any trigger of the group; they share ``root``.
        """
        async for changed in changes(kwargs["root"]):
            yield changed

    async def filter_shared_stream(self, shared_stream: AsyncIterator[set[str]]) -> AsyncIterator[TriggerEvent]:
        """Fire once the pod has ended.

        Args:
            shared_stream: of changed pod ids; an empty set asks to poll again.
        """
        event = await asyncio.to_thread(self._poll)  # it may have ended before this trigger joined the watch
        if event is None:
            async for changed in shared_stream:
                if changed and not self._concerned(changed):
                    continue
                if (event := await asyncio.to_thread(self._poll)) is not None:
                    break
        if event is not None:
            yield TriggerEvent(event)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """As ``filter_shared_stream``, with a watch of its own."""
        async for event in self.filter_shared_stream(changes(self.root)):
            yield event

    async def on_kill(self) -> None:
        """The task was marked or cleared by a person: take its pod down."""
        await asyncio.to_thread(
            self.runtime.terminate, self.name, self.namespace, reason="its task was marked or cleared", timeout_s=25
        )

    def _concerned(self, changed: Set[str]) -> bool:
        return f"{self.namespace}.{self.name}" in changed

    def _poll(self) -> dict[str, Any] | None:
        return self._event() if self._ended() else None

    def _ended(self) -> bool:
        try:
            return self.runtime.status(self.name, self.namespace).ended
        except NotFoundError:
            return True

    def _event(self) -> dict[str, Any]:
        return end_event(self.runtime, self.name, None, self.namespace)
