"""Waiting for the pods of a distributed job, by the same watch as everybody else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence, Set
from typing import Any

from bulkhead.operators.clusters import connect
from bulkhead.operators.triggers.kubernetes_pod import UNSEEN_S, KubernetesPodTrigger, PodGoneTrigger
from bulkhead.pods.distributed import GANG
from bulkhead.pods.ranks import JobState, job_state, rank
from bulkhead.runtimes.kubernetes import jobs
from bulkhead.runtimes.kubernetes.access import Access
from bulkhead.runtimes.kubernetes.watch import Pod

_SETTLE_S = 5.0
"""How long the other ranks' ends are waited for after the first that failed: the first to be reported need not be the
first to have failed."""


class KubernetesGangTrigger(KubernetesPodTrigger):
    """Fires when a distributed job has succeeded, has failed, is gone, or cannot start.

    The event is ``{"why": ended | gone | stuck | refused, "pods": […], "text": …}``, with the last state of each pod.

    Args:
        name: of the job.
        namespace: of the job.
        access: how to reach the cluster, as ``Access`` in JSON form.
        startup_s: see ``KubernetesPodTrigger``; counted from the job's admission.
        nodes: pods of the job.
        kind: ``Job`` or ``JobSet``.
        queued: whether it waits for its admission first, for which there is no limit.
        stream_logs: whether the logs of node rank 0 go to the task's log while it runs.
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        access: Mapping[str, Any],
        startup_s: float,
        nodes: int,
        kind: str = "Job",
        queued: bool = False,
        stream_logs: bool = False,
    ) -> None:
        super().__init__(name, namespace, access, startup_s, None, stream_logs)
        self.nodes, self.kind, self.queued = nodes, kind, queued
        self._failing_since: float | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("name", "namespace", "access", "startup_s", "nodes", "kind", "queued", "stream_logs")
        return (f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names})

    async def on_kill(self) -> None:
        """The task was marked or cleared by a person: take the job down, and its pods with it."""
        await asyncio.to_thread(
            lambda: jobs.delete(connect(Access(**self.access)), self.kind, self.name, self.namespace)
        )

    def _concerned(self, changed: Set[str]) -> bool:
        view = self._view() or {}
        # One that is not in the view any more may have been one of these.
        return any(name not in view or _of(view[name], self.name) for name in changed)

    def _pod(self) -> Pod | None:
        return next((pod for pod in members(self._view() or {}, self.name) if rank(pod) == 0), None)

    def _pending_pod(self) -> Pod | None:
        pods = members(self._view() or {}, self.name)
        return next((pod for pod in pods if pod["status"].get("phase") == "Pending"), None)

    def _poll(self) -> dict[str, Any] | None:
        refused, view = self._refused(), self._view()
        if refused is not None:
            return {**refused, "pods": []}
        if view is None:
            return None
        pods, now = members(view, self.name), time.monotonic()
        if not pods:
            gone = self._seen or (not self.queued and now - self._began > UNSEEN_S)
            return {"why": "gone", "pods": [], "text": "its pods are not there any more"} if gone else None
        if not self._seen:
            self._seen, self._began = True, now
        return self._judge(pods, now)

    def _judge(self, pods: Sequence[Pod], now: float) -> dict[str, Any] | None:
        state = job_state(pods, self.nodes)
        if state is JobState.FAILING:
            self._failing_since = self._failing_since or now
            if now - self._failing_since < _SETTLE_S:
                return None
        if state is not JobState.WAITING:
            return {"why": "ended", "pods": list(pods), "text": ""}
        for pod in pods:
            if pod["status"].get("phase") == "Pending" and not pod["metadata"].get("deletionTimestamp"):
                stuck = self._pending(pod, now)
                return stuck and {"why": "stuck", "pods": [pod], "text": stuck["text"]}
        self._stuck_since = None
        return None


class GangGoneTrigger(PodGoneTrigger):
    """Fires when none of the pods of a job that was told to end is there any more."""

    def _concerned(self, changed: Set[str]) -> bool:
        return True

    def _poll(self) -> dict[str, Any] | None:
        refused, view = self._refused(), self._view()
        if refused is not None or view is None:
            return refused
        if not members(view, self.name):
            return {"why": "gone", "pod": None, "text": "its pods are gone"}
        return self._late()


def members(view: Mapping[str, Pod], job: str) -> Sequence[Pod]:
    """The pods of a job, by node rank.

    Args:
        view: of the namespace, by name.
    """
    return sorted((pod for pod in view.values() if _of(pod, job)), key=rank)


def _of(pod: Pod, job: str) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get(GANG) == job)
