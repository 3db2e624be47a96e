"""Which rank of a distributed job failed first: the cause, and not its victims.

A rank that dies takes the others with it: they lose its connection, or are told to end. They leave failures of their
own, often within the same second. So what only a victim says is recognised by its words; among the rest the first
counts.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead.pods.distributed import INDEX
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.reasons import is_victim
from bulkhead.pods.status import PodPhase, of_task

_TERMINATED = 143
"""Exit code of a process that SIGTERM ended."""


class JobState(enum.StrEnum):
    """How a job stands."""

    WAITING = "waiting"
    FAILING = "failing"
    """Something failed, and not everything has ended yet."""
    FAILED = "failed"
    SUCCEEDED = "succeeded"


@dataclass(frozen=True)
class Cause:
    """Why a job failed.

    Attributes:
        pod: name of the pod that failed first.
        node_rank: its index.
        node: that it ran on, or an empty string.
        failure: of it.
        victims: node ranks that failed because of it.
    """

    pod: str
    node_rank: int
    node: str
    failure: Failure
    victims: tuple[int, ...]


def job_state(pods: Sequence[Mapping[str, Any]], nodes: int) -> JobState:
    """How a job of so many nodes stands.

    Args:
        pods: of the job, in their JSON form; those that are known.
        nodes: how many there have to be.
    """
    phases = [of_task(pod).phase for pod in pods]
    if phases.count(PodPhase.SUCCEEDED) >= nodes:
        return JobState.SUCCEEDED
    if PodPhase.FAILED not in phases:
        return JobState.WAITING
    over = all(phase in (PodPhase.SUCCEEDED, PodPhase.FAILED) for phase in phases)
    return JobState.FAILED if over else JobState.FAILING


def cause(pods: Sequence[Mapping[str, Any]]) -> Cause | None:
    """The failure that the others followed from.

    Args:
        pods: of the job, in their JSON form.

    Returns:
        The cause; None where nothing failed.
    """
    failed = [
        (_is_victim(pod, failure), _ended_at(pod), rank(pod), pod, failure)
        for pod in pods
        if (status := of_task(pod)).phase is PodPhase.FAILED and (failure := status.failure) is not None
    ]
    if not failed:
        return None
    failed.sort(key=lambda failure: failure[:3])
    _, _, first, pod, failure = failed[0]
    return Cause(
        pod=pod["metadata"]["name"],
        node_rank=first,
        node=(pod.get("spec") or {}).get("nodeName") or "",
        failure=failure if failure.rank is not None else failure.model_copy(update={"rank": first}),
        victims=tuple(victim[2] for victim in failed[1:]),
    )


def rank(pod: Mapping[str, Any]) -> int:
    """The node rank of a pod of an Indexed Job; -1 for any other.

    Args:
        pod: in its JSON form.
    """
    metadata = pod["metadata"]
    index = (metadata.get("labels") or {}).get(INDEX) or (metadata.get("annotations") or {}).get(INDEX)
    return int(index) if index is not None else -1


def _is_victim(pod: Mapping[str, Any], failure: Failure) -> bool:
    if failure.failure_class is FailureClass.CANCELLED or of_task(pod).exit_code == _TERMINATED:
        return True
    return is_victim(failure)


def _ended_at(pod: Mapping[str, Any]) -> str:
    finished = of_task(pod).finished_at
    return finished.isoformat() if finished else "~"
