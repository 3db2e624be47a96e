"""What only a pod's events say: volumes that cannot be mounted, sandboxes that cannot be made, who ended it.

Sources: the kubelet's ``pkg/kubelet/events``, the attach-detach controller, the scheduler's and the taint manager's
events, cluster-autoscaler and Karpenter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bulkhead.pods.outcome import Failure, FailureClass

_C = FailureClass
_RECURS = 3
"""An event that has come so often does not pass by itself within seconds."""

_MISSING = re.compile(
    r"(secret|configmap|persistentvolumeclaim|serviceaccount)\w* \"[^\"]*\" (not found|is forbidden)|"
    r"references non-existent|couldn't find key|is not a valid|wrong fs type|permission denied",
    re.I,
)
_HELD = re.compile(r"Multi-Attach error|already exclusively attached|already used by pod", re.I)
_BEFORE_IT_RUNS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_NO_SCALE_UP = "NotTriggerScaleUp"
_ENDED = {
    "TaintManagerEviction": (_C.EVICTED, "taint"),
    "Preempted": (_C.PREEMPTED, "scheduler"),
    "Preempting": (_C.PREEMPTED, "critical-pod"),
    "Evicted": (_C.EVICTED, "unknown"),
    "NodeNotReady": (_C.NODE_LOST, "unreachable"),
    "DisruptionTerminating": (_C.EVICTED, "drain"),
    "DeletingNode": (_C.NODE_LOST, "garbage-collected"),
}
_UNEXPLAINED = {(_C.CANCELLED, "sigterm"), (_C.APPLICATION, "killed")}
"""What a pod's status says where it was ended from outside and left no condition."""

Event = Mapping[str, Any]


def before_it_runs(events: Iterable[Event]) -> Failure | None:
    """Why a pod that has a node does not start.

    Args:
        events: about the pod, in their JSON form.
    """
    for event in events:
        reason, message = str(event.get("reason")), str(event.get("message") or "")
        if _count(event) < _RECURS:
            continue
        if reason in _BEFORE_IT_RUNS:
            kind = "volume-held" if _HELD.search(message) else "volume" if _MISSING.search(message) else "volume-late"
            return Failure.named(_C.CONFIG, kind, message or reason, reason)
        if reason == "FailedCreatePodSandBox":
            return Failure.named(_C.CONFIG, "sandbox", message or reason, reason)
    return None


def never_scales(events: Iterable[Event]) -> bool:
    """Whether an autoscaler has said that no node it could add would take the pod.

    Args:
        events: about the pod, in their JSON form.
    """
    latest = [str(event.get("reason")) for event in sorted(events, key=_at)]
    scaling = [reason for reason in latest if reason in (_NO_SCALE_UP, "TriggeredScaleUp")]
    return bool(scaling) and scaling[-1] == _NO_SCALE_UP


def who_ended(failure: Failure, events: Iterable[Event]) -> Failure:
    """A failure with the name that the events give it, where the status says only that the pod was ended.

    Args:
        events: about the pod, in their JSON form.
    """
    if (failure.failure_class, failure.kind) not in _UNEXPLAINED:
        return failure
    for event in sorted(events, key=_at, reverse=True):
        reason = str(event.get("reason"))
        if reason in _ENDED:
            named = Failure.named(*_ENDED[reason], str(event.get("message") or reason), reason)
            return named.model_copy(update={"rank": failure.rank, "checkpoint": failure.checkpoint})
    return failure


def plain(events: Iterable[Any]) -> Sequence[Event]:
    """Events as ``before_it_runs`` and the others read them.

    Args:
        events: of either Kubernetes client, or in their JSON form.
    """
    return [event if isinstance(event, Mapping) else _plain(event) for event in events]


def _plain(event: Any) -> Event:
    series = getattr(event, "series", None)
    when = event.last_timestamp or event.event_time
    return {
        "reason": event.reason,
        "message": event.message,
        "count": event.count or (series.count if series is not None else None),
        "lastTimestamp": when.isoformat() if when is not None else "",
    }


def _count(event: Event) -> int:
    return int(event.get("count") or (event.get("series") or {}).get("count") or 1)


def _at(event: Event) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
