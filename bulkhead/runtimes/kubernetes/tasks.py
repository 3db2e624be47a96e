"""The pods of tasks on Kubernetes: one pod, or those of a Job or JobSet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kubernetes import client as k8s

from bulkhead.pods import distributed
from bulkhead.pods.gpu import claim_template, place
from bulkhead.pods.gpu_request import GpuRequest
from bulkhead.pods.status import PodPhase, of_task
from bulkhead.runtimes.base import POD, Launched, TaskWorkload
from bulkhead.runtimes.kubernetes import jobs, pods
from bulkhead.runtimes.kubernetes.access import Access
from bulkhead.runtimes.kubernetes.logs import Position, read_rest

_LOG_BYTES = 256 * 1024
_BUILD = {"Job": distributed.job, "JobSet": distributed.jobset}


class KubernetesTaskRuntime:
    """A cluster, as ``bulkhead.runtimes.base.TaskRuntime``.

    Args:
        api: an authenticated client of it.
        access: how that was made.
    """

    def __init__(self, api: k8s.ApiClient, access: Access) -> None:
        self._api, self._core, self._access = api, k8s.CoreV1Api(api), access

    @property
    def access(self) -> dict[str, Any]:
        """See the port."""
        return asdict(self._access)

    def place(self, pod: k8s.V1Pod, gpus: GpuRequest) -> k8s.V1Pod:
        """See the port."""
        return place(pod, gpus)

    def find(self, workload: TaskWorkload) -> Launched | None:
        """See the port. One request."""
        if workload.gang is not None:
            job = jobs.find_unfailed(self._api, workload.kind, workload.namespace, workload.own)
            return None if job is None else Launched(job["metadata"]["name"], workload.namespace, "found")
        pod = pods.find_unfailed(self._core, workload.namespace, workload.own)
        return None if pod is None else self._launched(pod, "found")

    def create(self, workload: TaskWorkload) -> Launched:
        """See the port."""
        if workload.gpus.device_class:
            template = claim_template(workload.gpus, workload.namespace)
            pods.ensure_claim_template(self._api, template, workload.name)
        if workload.gang is not None:
            return self._create_job(workload, workload.gang)
        pod, created = pods.create_or_adopt(self._core, workload.pod, workload.own)
        return self._launched(pod, "created" if created else "adopted")

    def end(
        self, kind: str, name: str, namespace: str, own: Mapping[str, str], keep: str, reason: str
    ) -> tuple[bool, str]:
        """See the port."""
        if kind == POD:
            return pods.end(self._core, name, namespace, own, keep)
        return jobs.end(self._api, kind, name, namespace, own, keep)

    def kill(self, kind: str, name: str, namespace: str, reason: str, grace_s: float | None = None) -> None:
        """See the port. The pods of a job have their own grace."""
        if kind == POD:
            pods.delete(self._core, name, namespace, grace_s=grace_s)
        else:
            jobs.delete(self._api, kind, name, namespace)

    def clean_up(self, kind: str, name: str, namespace: str, failed: bool, keep: str) -> str:
        """See the port."""
        if pods.kept(PodPhase.FAILED if failed else PodPhase.SUCCEEDED, keep):
            return "kept"
        self.kill(kind, name, namespace, "it has ended")
        return "deleted"

    def events(self, name: str, namespace: str) -> Sequence[Mapping[str, Any]]:
        """See the port."""
        return pods.events(self._core, name, namespace)

    def read_log(self, name: str, namespace: str, container: str, followed: Mapping[str, Any]) -> str:
        """See the port."""
        return read_rest(self._api, name, namespace, container, Position(**followed), _LOG_BYTES)

    def strangers(self, namespace: str, launched: set[str]) -> Sequence[str]:
        """See the port."""
        there = pods.managed_names(self._core, namespace)
        return sorted(f"{namespace}/{name}" for name, of in there.items() if of not in launched)

    def _create_job(self, workload: TaskWorkload, gang: distributed.Gang) -> Launched:
        document = _BUILD[workload.kind](workload.pod, gang, workload.queue)
        made, created = jobs.create_or_adopt(self._api, document, workload.own)
        if workload.kind == "Job":
            jobs.create_service(self._api, distributed.service(made, gang))
        return Launched(made["metadata"]["name"], workload.namespace, "created" if created else "adopted")

    def _launched(self, pod: k8s.V1Pod, how: str) -> Launched:
        name, namespace = pod.metadata.name, pod.metadata.namespace
        document: dict[str, Any] = self._api.sanitize_for_serialization(pod)
        ended = {"name": name, "namespace": namespace, "why": "ended", "pod": document, "text": ""}
        return Launched(name, namespace, how, ended if of_task(document).ended else None)
