"""Why a pod failed, as a pure function of what Kubernetes recorded of it: status, conditions, events, last words.

The class decides what is done next, not the text of an exception (see ``bulkhead.pods.policy``). Sources: the
Kubernetes documentation on Pod lifecycle and Pod failure policy (``DisruptionTarget`` and its reasons), node-pressure
eviction and graceful node shutdown; the kubelet's reasons in ``pkg/kubelet/events`` and ``pkg/kubelet/images``; for
CUDA's error texts, the CUDA driver API's ``CUresult``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bulkhead.pods import reasons
from bulkhead.pods.outcome import Failure, FailureClass, Outcome

_EVIDENCE = 1000


def classify(pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]] = ()) -> Failure | None:
    """Name a pod's failure.

    Args:
        pod: a ``v1.Pod`` in its JSON form, keys in camelCase as the API server writes them.
        events: ``v1.Event`` objects about it, in any order; used where the status alone is silent.

    Returns:
        The failure with its evidence; None for a pod that succeeded, or that may still succeed by itself.
    """
    status = pod.get("status") or {}
    if status.get("phase") == "Succeeded":
        return None
    disrupted = reasons.disruption(status)
    if status.get("phase") == "Failed":
        reported = _ended(status)
        named = disrupted or reasons.pod_reason(status)
        return _with_progress(named, reported) if named else reported or _unknown(status)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return disrupted or Failure(failure_class=FailureClass.CANCELLED, message="the pod is being deleted")
    return _stuck(status) or reasons.scheduling(status, events) or reasons.events(events)


def _with_progress(named: Failure, reported: Failure | None) -> Failure:
    """The cluster knows why it ended the pod; the program knows how far it had come."""
    if reported is None:
        return named
    return named.model_copy(update={"rank": reported.rank, "checkpoint": reported.checkpoint})


def _ended(status: Mapping[str, Any]) -> Failure | None:
    """The container that failed first is the cause; the others followed."""
    ended = [one for one in _containers(status) if _terminated(one).get("exitCode")]
    if not ended:
        return None
    first = min(ended, key=lambda one: _terminated(one).get("finishedAt") or "~")
    terminated = _terminated(first)
    return _reported(terminated) or reasons.exit_code(str(first.get("name")), terminated)


def _reported(terminated: Mapping[str, Any]) -> Failure | None:
    """What the container itself said, unless the kernel knows better."""
    if terminated.get("reason") in reasons.KERNEL:
        return None
    left = Outcome.decode(terminated.get("message"))
    if left is None or left.failure is None:
        return None
    failure = left.failure
    if failure.failure_class is not FailureClass.APPLICATION:
        return failure
    device = reasons.device(f"{failure.message}\n{failure.evidence}")
    if device is None:
        return failure
    named, kind = device
    return failure.model_copy(update={"failure_class": named, "kind": kind})


def _stuck(status: Mapping[str, Any]) -> Failure | None:
    """A container that waits for something that will not come by itself."""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        found = reasons.waiting(str(container.get("name")), waiting)
        if found is not None:
            return found
    return None


def _unknown(status: Mapping[str, Any]) -> Failure:
    text = status.get("message") or status.get("reason") or "the pod failed and left no reason"
    return Failure(failure_class=FailureClass.APPLICATION, kind="unknown", message=str(text)[:_EVIDENCE])


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _terminated(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return (container.get("state") or {}).get("terminated") or {}
