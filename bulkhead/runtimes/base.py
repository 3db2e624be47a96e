"""What a task asks of where its pods run: the port. Kubernetes and the local runtime implement it, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kubernetes import client as k8s

from bulkhead.pods.distributed import Gang
from bulkhead.pods.gpu_request import GpuRequest

POD = "Pod"
"""Kind of a workload that is one pod."""


@dataclass(frozen=True)
class TaskWorkload:
    """What one try of a task runs: a pod, or such a pod on each node of a distributed job.

    Attributes:
        pod: of each node; its name and namespace are the workload's.
        own: labels by which a retry finds it: those of the clear number.
        gpus: what ``pod`` asks for.
        kind: ``Pod``; of a distributed job what makes its pods where the runtime has such things: ``Job``, ``JobSet``.
        gang: size of the distributed job; None for a pod.
        queue: Kueue's local queue, or None.
    """

    pod: k8s.V1Pod
    own: Mapping[str, str]
    gpus: GpuRequest
    kind: str = POD
    gang: Gang | None = None
    queue: str | None = None

    @property
    def name(self) -> str:
        """Of the pod, or the job."""
        return str(self.pod.metadata.name)

    @property
    def namespace(self) -> str:
        """Of the pod, or the job."""
        return str(self.pod.metadata.namespace or "default")


@dataclass(frozen=True)
class Launched:
    """A workload that was created, adopted or found.

    Attributes:
        name: of the pod or the job; that of an earlier try, where it was found.
        namespace: of it.
        how: ``created``, ``adopted`` or ``found``.
        ended: the event of its end, as its trigger would fire with, where it has ended already; else None.
    """

    name: str
    namespace: str
    how: str
    ended: Mapping[str, Any] | None = None


class TaskRuntime(Protocol):
    """Where pods run. Every failure of it is raised as ``PodFailedError``, or as another ``BulkheadError``."""

    @property
    def access(self) -> Mapping[str, Any]:
        """How to reach it, as the ledger keeps it: names alone, in JSON form."""

    def place(self, pod: k8s.V1Pod, gpus: GpuRequest) -> k8s.V1Pod:
        """Have a pod ask for GPUs.

        Args:
            pod: is changed.

        Raises:
            InvalidInputError: this runtime cannot give such GPUs.
        """

    def find(self, workload: TaskWorkload) -> Launched | None:
        """The workload of an earlier try that may still succeed, or has."""

    def create(self, workload: TaskWorkload) -> Launched:
        """Create a workload. Creating is the lock: one that is there already is adopted if it is ours and lives.

        Raises:
            InvalidInputError: this runtime cannot run it. Nothing was created.
        """

    def end(
        self, kind: str, name: str, namespace: str, own: Mapping[str, str], keep: str, reason: str
    ) -> tuple[bool, str]:
        """Take one step towards the end of a workload that no task waits for.

        Args:
            own: labels that it has if it is ours; another is left alone.
            keep: whether it stays once it has finished: ``never``, ``failed`` or ``always``.
            reason: why no task waits for it.

        Returns:
            Whether nothing is left to do, and what was found or done, in a few words.
        """

    def kill(self, kind: str, name: str, namespace: str, reason: str, grace_s: float | None = None) -> None:
        """End a workload whose task is told to end.

        Args:
            reason: of it.
            grace_s: seconds between SIGTERM and SIGKILL; None for the pod's own.
        """

    def clean_up(self, kind: str, name: str, namespace: str, failed: bool, keep: str) -> str:
        """Remove what has ended, unless it is to stay.

        Args:
            failed: whether it has failed.
            keep: see ``end``.

        Returns:
            What became of it, in a word.
        """

    def events(self, name: str, namespace: str) -> Sequence[Mapping[str, Any]]:
        """The events about a pod that has failed or cannot start, in their JSON form; none where there are none."""

    def read_log(self, name: str, namespace: str, container: str, followed: Mapping[str, Any]) -> str:
        """The end of a container's log.

        Args:
            followed: position up to which it was read already, see ``Position``; empty for none of it.
        """

    def strangers(self, namespace: str, launched: set[str]) -> Sequence[str]:
        """Names of pods with this project's label that are of no launch of this ledger, sorted.

        Args:
            launched: names of pods and jobs that the ledger knows.
        """
