"""Waiting for pods on Kubernetes: one watch a connection and namespace serves every deferred task of a triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping, Sequence, Set
from contextlib import aclosing
from functools import partial
from typing import Any

import aiohttp
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from kubernetes_asyncio.client import ApiException, CoreV1Api

from bulkhead.errors import BulkheadError, UnavailableError
from bulkhead.operators.clusters import aconnect
from bulkhead.operators.triggers.pod_logs import PodLogs
from bulkhead.pods.event_texts import plain
from bulkhead.pods.failure import classify
from bulkhead.pods.identity import MANAGED
from bulkhead.pods.policy import hopeless
from bulkhead.runtimes.kubernetes.access import Access
from bulkhead.runtimes.kubernetes.pods import MOST_EVENTS
from bulkhead.runtimes.kubernetes.watch import Pod, PodWatch, ended

SELECTOR = f"{MANAGED}=true"
"""Label selector of the pods that are watched."""

_POLL_S = 5.0
UNSEEN_S = 30.0
_HOPELESS_S = 10.0
_EVENTS_AFTER_S = 15.0
"""Most pods run by then, and cost no request for their events."""
_EVENTS_S = 60.0
_watches: dict[Hashable, PodWatch] = {}
_refusals: dict[Hashable, str] = {}


class KubernetesPodTrigger(BaseEventTrigger):
    """Fires when a pod has ended, is gone, or cannot start.

    The event carries the pod's last state (with the outcome in its termination message), so that no task has to read
    it again: ``{"why": ended | gone | stuck | refused, "pod": …, "text": …}``.

    Args:
        name: of the pod.
        namespace: of the pod.
        access: how to reach the cluster, as ``Access`` in JSON form.
        startup_s: a pod that is not running after so many seconds, with a reason that may pass, is given up.
        grace_s: seconds between SIGTERM and SIGKILL when the task is killed; None for the pod's own.
        stream_logs: whether the logs of its containers go to the task's log while they run.
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        access: Mapping[str, Any],
        startup_s: float,
        grace_s: int | None = None,
        stream_logs: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.namespace, self.access = name, namespace, dict(access)
        self.startup_s, self.grace_s, self.stream_logs = startup_s, grace_s, stream_logs
        self._began = time.monotonic()
        self._seen = False
        self._stuck_since: float | None = None
        self._events: Sequence[Mapping[str, Any]] = ()
        self._events_at: float | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("name", "namespace", "access", "startup_s", "grace_s", "stream_logs")
        arguments = {name: getattr(self, name) for name in names}
        return (f"{type(self).__module__}.{type(self).__qualname__}", arguments)

    def shared_stream_key(self) -> Hashable:
        """One watch a connection and namespace."""
        return _key(self.serialize()[1])

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[set[str], None]:
        """Watch the namespace.

        Args:
            kwargs: of any trigger of the group; they share access and namespace.

        Yields:
            Names of pods that changed; an empty set asks to poll again.
        """
        key = _key(kwargs)
        watch = _watches[key] = PodWatch(partial(aconnect, Access(**kwargs["access"])), kwargs["namespace"], SELECTOR)
        _refusals.pop(key, None)
        try:
            async with aclosing(_with_polls(watch.changes())) as poll:
                async for changed in poll:
                    yield changed
        except UnavailableError as error:
            _refusals[key] = str(error)
            yield set()
        finally:
            _watches.pop(key, None)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[set[str]]) -> AsyncIterator[TriggerEvent]:
        """Fire once.

        Args:
            shared_stream: of names of pods that changed; an empty set asks to poll again.
        """
        async with PodLogs(self._pod, self._open_log, self.log.info) as logs:
            event = await self._next(shared_stream, logs)
            if event is not None:
                read = {"logs": await logs.drain()} if self.stream_logs else {}
                yield TriggerEvent({"name": self.name, "namespace": self.namespace, **event, **read})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """As ``filter_shared_stream``, with a watch of its own."""
        async with aclosing(self.open_shared_stream(self.serialize()[1])) as stream:
            async for event in self.filter_shared_stream(stream):
                yield event

    async def on_kill(self) -> None:
        """The task was marked or cleared by a person: take its pod down."""
        async with aconnect(Access(**self.access)) as api:
            grace = {} if self.grace_s is None else {"grace_period_seconds": self.grace_s}
            try:
                await CoreV1Api(api).delete_namespaced_pod(self.name, self.namespace, **grace)
            except ApiException as error:
                if error.status != 404:
                    raise

    async def _next(self, shared_stream: AsyncIterator[set[str]], logs: PodLogs) -> dict[str, Any] | None:
        event = self._poll()  # it may have ended before this trigger joined the watch
        if event is not None:
            return event
        if self.stream_logs:
            logs.poll()
        async for changed in shared_stream:
            if changed and not self._concerned(changed):
                continue
            event = self._poll()
            if event is not None:
                return event
            await self._read_events()
            if self.stream_logs:
                logs.poll()
        return None

    async def _read_events(self) -> None:
        """Ask for the events of a pod that is pending for long, now and then: only they say what a volume lacks."""
        now, pod = time.monotonic(), self._pending_pod()
        due = self._began + _EVENTS_AFTER_S if self._events_at is None else self._events_at + _EVENTS_S
        if pod is None or now < due:
            return
        self._events_at = now
        about = f"involvedObject.kind=Pod,involvedObject.name={pod['metadata']['name']}"
        try:
            async with aconnect(Access(**self.access)) as api:
                listed = await CoreV1Api(api).list_namespaced_event(
                    self.namespace, field_selector=about, limit=MOST_EVENTS
                )
        except (ApiException, aiohttp.ClientError, TimeoutError, BulkheadError) as away:
            self.log.warning("the events of pod %s cannot be read: %s", self.name, str(away)[:300])
            return
        self._events = plain(listed.items)

    def _concerned(self, changed: Set[str]) -> bool:
        return self.name in changed

    def _pending_pod(self) -> Pod | None:
        """A pod that does not run yet, if there is one."""
        pod = self._pod()
        return pod if pod is not None and pod["status"].get("phase") == "Pending" else None

    def _view(self) -> Mapping[str, Pod] | None:
        """The pods of the namespace, once all of them are known."""
        watch = _watches.get(self.shared_stream_key())
        return watch.pods if watch is not None and watch.synced else None

    def _pod(self) -> Pod | None:
        """The pod whose logs are followed."""
        return (self._view() or {}).get(self.name)

    async def _open_log(self, query: Mapping[str, str]) -> aiohttp.ClientResponse:
        watch, pod = _watches.get(self.shared_stream_key()), self._pod()
        if watch is None or pod is None:
            raise ConnectionError("there is no watch at the moment")
        return await watch.open_log(pod["metadata"]["name"], query)

    def _poll(self) -> dict[str, Any] | None:
        """What the view says of this pod now; None to wait on."""
        refused, view = self._refused(), self._view()
        if refused is not None or view is None:
            return refused
        pod, now = view.get(self.name), time.monotonic()
        if pod is None:
            # A pod that was created a moment ago may not have reached the watch yet.
            gone = self._seen or now - self._began > UNSEEN_S
            return {"why": "gone", "pod": None, "text": "it is not there any more"} if gone else None
        self._seen = True
        if ended(pod):
            return {"why": "ended", "pod": pod, "text": ""}
        # Unknown: its node does not answer; whether the pod has to be given up is the cluster's to decide.
        if pod["status"].get("phase") in ("Running", "Unknown") or pod["metadata"].get("deletionTimestamp"):
            self._stuck_since = None
            return None
        return self._pending(pod, now)

    def _refused(self) -> dict[str, Any] | None:
        text = _refusals.get(self.shared_stream_key())
        return {"why": "refused", "pod": None, "text": text} if text is not None else None

    def _pending(self, pod: Mapping[str, Any], now: float) -> dict[str, Any] | None:
        failure = classify(pod, self._events)
        if failure is None:
            self._stuck_since = None
            late = now - self._began > self.startup_s
            return {"why": "stuck", "pod": pod, "text": f"not running after {self.startup_s:g} s"} if late else None
        self._stuck_since = self._stuck_since or now
        limit = _HOPELESS_S if hopeless(failure, self._events) else self.startup_s
        if now - self._stuck_since < limit:
            return None
        return {"why": "stuck", "pod": pod, "text": failure.message}


class PodGoneTrigger(KubernetesPodTrigger):
    """Fires when a pod that was told to end runs no more: ``{"why": ended | gone | late | refused, …}``.

    Args:
        name: of the pod.
        namespace: of the pod.
        access: how to reach the cluster, as ``Access`` in JSON form.
        patience_s: after so many seconds it is given up (``late``): its node may be lost.
    """

    def __init__(self, name: str, namespace: str, access: Mapping[str, Any], patience_s: float) -> None:
        super().__init__(name, namespace, access, startup_s=patience_s)
        self.patience_s = patience_s
        self._seen = True  # it was there when it was told to end

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        arguments = {name: getattr(self, name) for name in ("name", "namespace", "access", "patience_s")}
        return (f"{type(self).__module__}.{type(self).__qualname__}", arguments)

    def _poll(self) -> dict[str, Any] | None:
        seen = super()._poll()
        if seen is not None and seen["why"] != "stuck":
            return seen
        return self._late()

    def _late(self) -> dict[str, Any] | None:
        late = time.monotonic() - self._began > self.patience_s
        return {"why": "late", "pod": None, "text": f"not gone after {self.patience_s:g} s"} if late else None


def _key(kwargs: Mapping[str, Any]) -> Hashable:
    return ("bulkhead-kubernetes-pods", kwargs["namespace"], *sorted(kwargs["access"].items()))


async def _with_polls(changes: AsyncIterator[set[str]]) -> AsyncGenerator[set[str], None]:
    """The changes, and an empty set whenever there was none for a while."""
    pending = asyncio.ensure_future(anext(changes))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=_POLL_S)
            if not done:
                yield set()
                continue
            changed = pending.result()
            pending = asyncio.ensure_future(anext(changes))
            yield changed
    finally:
        pending.cancel()
