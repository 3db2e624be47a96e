"""Reading a pod's status: one small value from the status object that Kubernetes, or the local runtime, wrote."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bulkhead.pods.containers import base, base_name
from bulkhead.pods.failure import base_ended, classify
from bulkhead.pods.outcome import Failure, Outcome


class PodPhase(enum.StrEnum):
    """Kubernetes' pod phases."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"
    """Its node does not answer; also whatever phase a later Kubernetes may have."""

    @classmethod
    def _missing_(cls, value: object) -> PodPhase:
        return cls.UNKNOWN


@dataclass(frozen=True)
class PodStatus:
    """What is known of a pod now.

    Attributes:
        phase: Kubernetes' phase.
        ready: whether its readiness probe passes.
        reason: Kubernetes' reason for the phase, or the container's.
        message: the runtime's own words about it.
        exit_code: of the main container, once it has ended.
        termination_message: what the container left.
        started_at: start of the main container.
        finished_at: its end.
        failure: why it failed, or cannot start; None for a pod that succeeded or may still do so.
    """

    phase: PodPhase
    ready: bool = False
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    termination_message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure: Failure | None = None

    @property
    def ended(self) -> bool:
        """Whether the pod will never run again."""
        return self.phase in (PodPhase.SUCCEEDED, PodPhase.FAILED)

    @property
    def outcome(self) -> Outcome:
        """The container's outcome, or one made from the status where it left none."""
        left = Outcome.decode(self.termination_message) or Outcome()
        return left if self.phase is not PodPhase.FAILED else Outcome(result=left.result, failure=self.failure)


def of_task(pod: Mapping[str, Any]) -> PodStatus:
    """The status of a pod that runs one task and is not started again: the task ends with its base container.

    Args:
        pod: a ``v1.Pod`` in its JSON form.

    Returns:
        Its status; succeeded or failed as soon as the base container has ended, though a sidecar may run on.
    """
    own, status = base_name(pod), pod.get("status") or {}
    classified = replace(parse(status, own), failure=classify(pod))
    if classified.phase in (PodPhase.RUNNING, PodPhase.FAILED, PodPhase.UNKNOWN) and base_ended(pod):
        return replace(classified, phase=PodPhase.SUCCEEDED if classified.failure is None else PodPhase.FAILED)
    return classified


def parse(status: Mapping[str, Any], own: str | None = None) -> PodStatus:
    """Read a ``PodStatus`` object in its JSON form.

    Args:
        status: the ``status`` of a pod, keys in camelCase as the API server writes them.
        own: name of the base container; by default see ``bulkhead.pods.containers.base``.

    Returns:
        The status of the pod and of its base container.
    """
    container = base(status, own)
    state = container.get("state") or {}
    ended, running = state.get("terminated") or {}, state.get("running") or {}
    waiting = state.get("waiting") or {}
    return PodStatus(
        phase=PodPhase(status.get("phase") or PodPhase.PENDING),
        ready=bool(container.get("ready")),
        reason=status.get("reason") or ended.get("reason") or waiting.get("reason") or "",
        message=status.get("message") or waiting.get("message") or "",
        exit_code=ended.get("exitCode"),
        termination_message=ended.get("message") or "",
        started_at=_time(ended.get("startedAt") or running.get("startedAt")),
        finished_at=_time(ended.get("finishedAt")),
        failure=classify({"status": status}),
    )


def _time(text: str | None) -> datetime | None:
    if not text or text.startswith("0001-"):  # a kubelet's zero time: it does not know
        return None
    return datetime.fromisoformat(text)
