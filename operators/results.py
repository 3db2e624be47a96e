"""How a pod or a distributed job ended, read from what its trigger has seen: the same wherever it ran."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bulkhead.operators.triggers.pod_logs import started
from bulkhead.pods.failure import classify
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.ranks import Cause, cause, rank
from bulkhead.pods.status import PodPhase, of_task

Events = Callable[[str, str], Sequence[Mapping[str, Any]]]
"""``TaskRuntime.events``: those about a pod, by its name and namespace."""


@dataclass(frozen=True)
class LogToRead:
    """A container's log of which a person has not seen the end.

    Attributes:
        title: whose it is, in words.
        pod: name.
        container: name.
        followed: position up to which it was shown already; empty for none of it.
    """

    title: str
    pod: str
    container: str
    followed: Mapping[str, Any]


@dataclass(frozen=True)
class TaskEnd:
    """How it ended.

    Attributes:
        failure: why it failed; None where it succeeded.
        node: that the failure is of, or an empty string.
        result: that the program left, also where it failed.
        exit_code: of the main container, where that is known.
        logs: that are still to be shown.
        there: whether there is something to be cleaned up.
    """

    failure: Failure | None
    node: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    logs: Sequence[LogToRead] = ()
    there: bool = True


def of_pod(event: Mapping[str, Any], events: Events) -> TaskEnd:
    """Read how a pod ended.

    Args:
        event: ``{"why": ended | gone | stuck | refused, "pod": …, "text": …}``.
    """
    pod = event["pod"]
    if event["why"] == "refused":
        return TaskEnd(_failure(FailureClass.CONFIG, "access", event["text"]), there=False)
    if pod is None:
        return TaskEnd(_failure(FailureClass.NODE_LOST, "gone", event["text"]), there=False)
    status = of_task(pod)
    failure = None
    if status.phase is not PodPhase.SUCCEEDED:
        failure = classify(pod, events(event["name"], event["namespace"])) or _unexplained(event)
    logs = tuple(_logs(pod, "", event.get("logs") or {}))
    return TaskEnd(failure, _node(pod), dict(status.outcome.result), status.exit_code, logs)


def of_job(event: Mapping[str, Any], events: Events, nodes: int) -> TaskEnd:
    """Read how a distributed job ended: with its node rank 0, or with the rank that failed first.

    Args:
        event: ``{"why": ended | gone | stuck | refused, "pods": […], "text": …}``.
        nodes: pods of the job.
    """
    if event["why"] == "refused":
        return TaskEnd(_failure(FailureClass.CONFIG, "access", event["text"]), there=False)
    pods = {rank(pod): pod for pod in event["pods"]}
    first = cause(event["pods"])
    logs: list[LogToRead] = []
    for number in dict.fromkeys((0, *([first.node_rank] if first else []))):
        if number in pods:
            followed = (event.get("logs") or {}) if number == 0 else {}
            logs += _logs(pods[number], f"node rank {number}, ", followed)
    if first is not None:
        return TaskEnd(_named(first, nodes), first.node, logs=logs)
    if event["why"] != "ended":
        return TaskEnd(_not_started(event, events), logs=logs)
    return TaskEnd(None, result=dict(of_task(pods[0]).outcome.result), logs=logs)


def _logs(pod: Mapping[str, Any], whose: str, read: Mapping[str, Any]) -> Iterator[LogToRead]:
    name = pod["metadata"]["name"]
    for container in started(pod):
        followed = read.get(container) or {"complete": False, "position": {}}
        if not followed["complete"]:
            yield LogToRead(f"{whose}pod {name}, container {container}", name, container, followed["position"])


def _named(first: Cause, nodes: int) -> Failure:
    victims = f"; node ranks {', '.join(map(str, first.victims))} failed after it" if first.victims else ""
    where = f"node rank {first.node_rank} of {nodes} (pod {first.pod}) failed first{victims}"
    return first.failure.model_copy(update={"message": f"{where}: {first.failure.message}"})


def _not_started(event: Mapping[str, Any], events: Events) -> Failure:
    for pod in event["pods"]:
        failure = classify(pod, events(pod["metadata"]["name"], event["namespace"]))
        if failure is not None:
            return failure
    return _unexplained(event)


def _unexplained(event: Mapping[str, Any]) -> Failure:
    text = event.get("text") or "it failed and left no reason"
    if event["why"] == "gone":
        return _failure(FailureClass.NODE_LOST, "gone", text)
    if event["why"] == "ended":
        return _failure(FailureClass.APPLICATION, "unknown", text)
    return _failure(FailureClass.UNSCHEDULABLE, "late", text)


def _node(pod: Mapping[str, Any]) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _failure(named: FailureClass, kind: str, message: str) -> Failure:
    return Failure(failure_class=named, kind=kind, message=message)
