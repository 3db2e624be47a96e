"""Why a pod failed, as a pure function of what Kubernetes recorded of it: status, conditions, events, termination
message.

The class decides what is done next, not the text of an exception (see ``bulkhead.pods.policy``). Sources: the
Kubernetes documentation on Pod lifecycle and Pod failure policy (``DisruptionTarget`` and its reasons), node-pressure
eviction and graceful node shutdown; the kubelet's reasons in ``pkg/kubelet/events`` and ``pkg/kubelet/images``; for
CUDA's error texts see ``bulkhead.pods.device_texts``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bulkhead.pods import event_texts, reasons
from bulkhead.pods.containers import asks_for_gpu, base, base_name, sidecars, terminated
from bulkhead.pods.device_texts import device
from bulkhead.pods.outcome import Failure, FailureClass, Outcome

_TERMINATED = (143, 137)
"""Exit codes of what SIGTERM, and after the grace period SIGKILL, has ended."""


def classify(pod: Mapping[str, Any], events: Iterable[Mapping[str, Any]] = ()) -> Failure | None:
    """Name a pod's failure.

    Args:
        pod: a ``v1.Pod`` in its JSON form, keys in camelCase as the API server writes them.
        events: ``v1.Event`` objects about it, in any order; used where the status alone is silent.

    Returns:
        The failure with its evidence; None for a pod that succeeded (of which the base container has), or that may
        still succeed by itself.
    """
    status, plain_events = pod.get("status") or {}, event_texts.plain(events)
    if status.get("phase") == "Succeeded":
        return None
    disrupted = reasons.disruption(status)
    if status.get("phase") == "Failed" or base_ended(pod):
        named = disrupted or reasons.pod_reason(status)
        if named is None and terminated(_base(pod)).get("exitCode") == 0 and _is_anothers(status):
            return None  # the task is done, whatever becomes of what ran beside it
        reported = _ended(pod)
        failure = _with_progress(named, reported) if named else reported or _unknown(status)
        return event_texts.who_ended(failure, plain_events)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        failure = disrupted or Failure(failure_class=FailureClass.CANCELLED, message="the pod is being deleted")
        return event_texts.who_ended(failure, plain_events)
    return _stuck(status) or reasons.scheduling(status, plain_events) or event_texts.before_it_runs(plain_events)


def base_ended(pod: Mapping[str, Any]) -> bool:
    """Whether the base container of a pod has ended for good, whatever runs beside it.

    Args:
        pod: a ``v1.Pod`` in its JSON form.
    """
    again = (pod.get("spec") or {}).get("restartPolicy", "Never") != "Never"
    return not again and bool(terminated(_base(pod)))


def _base(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return base(pod.get("status") or {}, base_name(pod))


def _is_anothers(status: Mapping[str, Any]) -> bool:
    """Whether it is another container for which a pod has failed, or runs on."""
    if status.get("phase") != "Failed":
        return True
    return any(terminated(container).get("exitCode") for container in _containers(status))


def _with_progress(named: Failure, reported: Failure | None) -> Failure:
    """The cluster knows why it ended the pod; the program knows how far it had come."""
    if reported is None:
        return named
    return named.model_copy(update={"rank": reported.rank, "checkpoint": reported.checkpoint})


def _ended(pod: Mapping[str, Any]) -> Failure | None:
    """The container that is the cause; the others followed, or were told to end when it had ended."""
    beside, own = sidecars(pod), str(_base(pod).get("name"))
    ended = [state for state in _containers(pod.get("status") or {}) if terminated(state).get("exitCode")]
    if not ended:
        return None

    def rank(container: Mapping[str, Any]) -> tuple[bool, bool, str, bool]:
        how, name = terminated(container), container.get("name")
        followed = name != own and how.get("exitCode") in _TERMINATED and how.get("reason") not in reasons.KERNEL
        return followed, name in beside, how.get("finishedAt") or "~", name != own

    first = min(ended, key=rank)
    how = terminated(first)
    failure = _reported(how) or reasons.exit_code(str(first.get("name")), how)
    return failure if asks_for_gpu(pod) else _without_gpu(failure)


def _without_gpu(failure: Failure) -> Failure:
    """A program that asked for no GPU and misses one: no device has failed."""
    if (failure.failure_class, failure.kind) != (FailureClass.DEVICE_FAULT, "no-device"):
        return failure
    return failure.model_copy(update={"failure_class": FailureClass.APPLICATION, "kind": "no-gpu-asked-for"})


def _reported(how: Mapping[str, Any]) -> Failure | None:
    """What the container itself said, unless the kernel knows better."""
    if how.get("reason") in reasons.KERNEL:
        return None
    left = Outcome.decode(how.get("message"))
    if left is None or left.failure is None:
        return None
    failure = left.failure
    if failure.failure_class is not FailureClass.APPLICATION:
        return failure
    of_device = device(f"{failure.message}\n{failure.evidence}")
    if of_device is None:
        return failure
    named, kind = of_device
    return failure.model_copy(update={"failure_class": named, "kind": kind})


def _stuck(status: Mapping[str, Any]) -> Failure | None:
    """A container that waits for something that will not come by itself."""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        failure = reasons.waiting(str(container.get("name")), waiting)
        if failure is not None:
            return failure
    return None


def _unknown(status: Mapping[str, Any]) -> Failure:
    text = status.get("message") or status.get("reason") or "the pod failed and left no reason"
    return Failure.named(FailureClass.APPLICATION, "unknown", str(text), "")


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
