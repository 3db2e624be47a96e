"""The pods of tasks on this machine: one pod, or one for each node of a distributed job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from kubernetes import client as k8s

from bulkhead.errors import BulkheadError, NotFoundError, UnsupportedError
from bulkhead.pods.distributed import GANG, INDEX, NODE_RANK, Gang
from bulkhead.pods.gpu import place
from bulkhead.pods.gpu_request import GpuRequest
from bulkhead.pods.ranks import JobState, job_state
from bulkhead.pods.status import PodPhase
from bulkhead.runtimes.base import POD, Launched, TaskWorkload
from bulkhead.runtimes.local.ports import free_port
from bulkhead.runtimes.local.runtime import LocalRuntime

LOCAL_ROOT = "local_root"
"""Key of a launch's access that names the root of a local runtime."""

_ONLY_ON_KUBERNETES = {
    "product": "gpu_product",
    "memory_gib": "gpu_memory_gib",
    "mig_profile": "mig_profile",
    "device_class": "device_class",
}
"""Arguments by the field of a GPU request: this machine has the GPUs that it has."""


class LocalTaskRuntime:
    """The local runtime, as ``bulkhead.runtimes.base.TaskRuntime``. A pod's record stays: it is all that is left to
    look at.

    Args:
        runtime: that runs the pods.

    Attributes:
        runtime: as given.
    """

    def __init__(self, runtime: LocalRuntime) -> None:
        self.runtime = runtime

    @property
    def access(self) -> dict[str, Any]:
        """See the port."""
        return {LOCAL_ROOT: str(self.runtime.layout.root)}

    def place(self, pod: k8s.V1Pod, gpus: GpuRequest) -> k8s.V1Pod:
        """See the port. There is one node, so none is preferred or excluded; ``/dev/shm`` is the machine's own."""
        for field, argument in _ONLY_ON_KUBERNETES.items():
            if (value := getattr(gpus, field)) is not None:
                raise UnsupportedError(
                    argument, value, "the local runtime cannot choose; leave it out, or use Kubernetes"
                )
        return place(pod, GpuRequest(gpus.count))

    def find(self, workload: TaskWorkload) -> Launched | None:
        """See the port."""
        of_job = {INDEX: "0"} if workload.gang is not None else {}
        for metadata in self.runtime.list({**workload.own, **of_job}):
            name = metadata.labels.get(GANG) if workload.gang is not None else metadata.name
            if name is None or (workload.gang is None and GANG in metadata.labels):
                continue
            try:
                if self._state(name, workload.gang) in (JobState.WAITING, JobState.SUCCEEDED):
                    return self._launched(name, workload, "found")
            except NotFoundError:  # deleted meanwhile, or a launcher died half-way through
                continue
        return None

    def create(self, workload: TaskWorkload) -> Launched:
        """See the port. Of a job's nodes all are launched, or none."""
        if workload.queue is not None:
            raise UnsupportedError("kueue_queue", workload.queue, "the local runtime has no queue; leave it out")
        if workload.gang is None:
            created = self.runtime.launch(workload.pod)
            return self._launched(workload.name, workload, "created" if created else "adopted")
        try:
            created = {self.runtime.launch(node) for node in _nodes(workload.pod, workload.gang)} == {True}
        except BulkheadError as wrong:
            end_nodes(self.runtime, workload.name, workload.gang.nodes, f"another node could not be launched: {wrong}")
            raise
        return self._launched(workload.name, workload, "created" if created else "adopted")

    def end(
        self, kind: str, name: str, namespace: str, own: Mapping[str, str], keep: str, reason: str
    ) -> tuple[bool, str]:
        """See the port."""
        ends = []
        for pod in self._pods(kind, name):
            try:
                ended = self.runtime.status(pod, namespace).ended
            except NotFoundError:
                continue
            ends.append(ended)
            if not ended:
                self.runtime.terminate(pod, namespace, reason=reason)
        return True, "gone" if not ends else "ended" if all(ends) else "told to end"

    def kill(self, kind: str, name: str, namespace: str, reason: str, grace_s: float | None = None) -> None:
        """See the port."""
        for pod in self._pods(kind, name):
            self.runtime.terminate(pod, namespace, reason=reason, grace_s=grace_s)

    def clean_up(self, kind: str, name: str, namespace: str, failed: bool, keep: str) -> str:
        """See the port. What still runs of a job that has failed ends."""
        self.kill(kind, name, namespace, "another rank of its job failed")
        return "ended"

    def events(self, name: str, namespace: str) -> Sequence[Mapping[str, Any]]:
        """See the port: there are none."""
        return ()

    def read_log(self, name: str, namespace: str, container: str, followed: Mapping[str, Any]) -> str:
        """See the port. It is never followed."""
        return self.runtime.read_log(name, namespace)

    def strangers(self, namespace: str, launched: set[str]) -> Sequence[str]:
        """See the port: all pods of a root are its own ledger's."""
        return ()

    def _pods(self, kind: str, name: str) -> Sequence[str]:
        return [name] if kind == POD else [str(metadata.name) for metadata in self.runtime.list({GANG: name})]

    def _state(self, name: str, gang: Gang | None) -> JobState:
        if gang is not None:
            return job_state(documents(self.runtime, name, gang.nodes), gang.nodes)
        phase = self.runtime.status(name).phase
        ends = {PodPhase.SUCCEEDED: JobState.SUCCEEDED, PodPhase.FAILED: JobState.FAILED}
        return ends.get(phase, JobState.WAITING)

    def _launched(self, name: str, workload: TaskWorkload, how: str) -> Launched:
        ended = self._state(name, workload.gang) in (JobState.SUCCEEDED, JobState.FAILED)
        nodes = workload.gang.nodes if workload.gang is not None else None
        return Launched(name, "default", how, end_event(self.runtime, name, nodes) if ended else None)


def end_event(runtime: LocalRuntime, name: str, nodes: int | None, namespace: str = "default") -> dict[str, Any]:
    """How a pod or a job ended, as a task is told of it.

    Args:
        nodes: of the job; None for a pod.

    Returns:
        ``{"why": "ended" | "gone", "pod": …, "text": …}``, with ``pods`` in place of ``pod`` of a job.
    """
    common: dict[str, Any] = {"name": name, "namespace": namespace, "why": "ended", "text": ""}
    try:
        if nodes is None:
            return {**common, "pod": runtime.document(name, namespace)}
        return {**common, "pods": documents(runtime, name, nodes)}
    except NotFoundError as gone:
        empty: dict[str, Any] = {"pod": None} if nodes is None else {"pods": []}
        return {**common, "why": "gone", "text": f"it was deleted ({gone})", **empty}


def node_names(job: str, nodes: int) -> Sequence[str]:
    """Names of the pods of a job, by rank."""
    return [f"{job}-{rank}" for rank in range(nodes)]


def documents(runtime: LocalRuntime, job: str, nodes: int) -> Sequence[dict[str, Any]]:
    """The pods of a job with their status, by rank.

    Raises:
        NotFoundError: one is not there.
    """
    return [runtime.document(name) for name in node_names(job, nodes)]


def end_nodes(runtime: LocalRuntime, job: str, nodes: int, reason: str, timeout_s: float = 90) -> None:
    """End every node of a job.

    Args:
        reason: kept in their status.
        timeout_s: how long to wait for the end of each, in seconds.
    """
    for name in node_names(job, nodes):
        runtime.terminate(name, reason=reason, timeout_s=timeout_s)


def _nodes(pod: k8s.V1Pod, gang: Gang) -> Sequence[k8s.V1Pod]:
    """The pods of a job. They find each other on loopback, at a port that is free now."""
    shared = replace(gang, port=free_port()).environment("127.0.0.1")
    made = []
    for rank, name in enumerate(node_names(pod.metadata.name, gang.nodes)):
        node = deepcopy(pod)
        node.metadata.name = name
        node.metadata.labels = {**node.metadata.labels, GANG: pod.metadata.name, INDEX: str(rank)}
        container = node.spec.containers[0]
        variables = {**shared, NODE_RANK: str(rank)}
        container.env = [
            *(k8s.V1EnvVar(name=variable, value=value) for variable, value in variables.items()),
            *(container.env or []),
        ]
        made.append(node)
    return made
