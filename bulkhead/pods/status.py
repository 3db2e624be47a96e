"""Reading a pod's status: one small value from the status object that Kubernetes, or the local runtime, wrote."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bulkhead.pods.failure import classify
from bulkhead.pods.outcome import Failure, Outcome


class Phase(enum.StrEnum):
    """Kubernetes' pod phases."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


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

    phase: Phase
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
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)

    @property
    def outcome(self) -> Outcome:
        """The container's outcome, or one made from the status where it left none."""
        left = Outcome.decode(self.termination_message) or Outcome()
        return left if self.phase is not Phase.FAILED else Outcome(result=left.result, failure=self.failure)


def parse(status: Mapping[str, Any]) -> PodStatus:
    """Read a ``PodStatus`` object in its JSON form.

    Args:
        status: the ``status`` of a pod, keys in camelCase as the API server writes them.

    Returns:
        The status of the pod and of its first container.
    """
    containers = status.get("containerStatuses") or [{}]
    state = containers[0].get("state") or {}
    ended, running = state.get("terminated") or {}, state.get("running") or {}
    waiting = state.get("waiting") or {}
    return PodStatus(
        phase=Phase(status.get("phase") or Phase.PENDING),
        ready=bool(containers[0].get("ready")),
        reason=status.get("reason") or ended.get("reason") or waiting.get("reason") or "",
        message=status.get("message") or waiting.get("message") or "",
        exit_code=ended.get("exitCode"),
        termination_message=ended.get("message") or "",
        started_at=_time(ended.get("startedAt") or running.get("startedAt")),
        finished_at=_time(ended.get("finishedAt")),
        failure=classify({"status": status}),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
