"""Keeping work away from a node, and letting it back: cordon, taint, and the reason in annotations.

The cordon and the annotations are applied by a field manager of their own, so that taking them back leaves a node that
a person has cordoned before as it was. Taints are one list for everybody (``listType=atomic``): ours is added and
removed alone. Sources: Kubernetes, "Server-Side Apply" and "Taints and Tolerations"; "API-initiated Eviction".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import urllib3
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.errors import UnavailableError
from bulkhead.pods.identity import LABEL_PREFIX
from bulkhead.runtimes.kubernetes.objects import NODE, Document, Objects

TAINT = LABEL_PREFIX + "quarantine"
"""Key of the taint. A diagnostic's pod tolerates it."""

REASON, HOLDER = TAINT + "-reason", TAINT + "-holder"
"""Annotations."""

_TIMEOUT_S = (3.0, 10.0)
_GPU_RESOURCES = "nvidia.com/"


class NodeCordons:
    """Keeps work away from the nodes of a cluster.

    Args:
        api: of the cluster; needs to get and patch nodes, and to list, evict and delete pods.
    """

    def __init__(self, api: k8s.ApiClient) -> None:
        self._objects, self._core = Objects(api, ""), k8s.CoreV1Api(api)

    def cordon(self, node: str, generation: int, reason: str, holder: str) -> bool:
        """Keep new pods away.

        Returns:
            Whether there is such a node.

        Raises:
            FencedError: a later generation has written it.
            UnavailableError: the cluster does not answer.
            RefusedError: it does not let us.
        """
        if self._objects.read(NODE, node) is None:
            return False
        notes = {REASON: reason[:1000], HOLDER: holder}
        desired = {"metadata": {"name": node, "annotations": notes}, "spec": {"unschedulable": True}}
        self._objects.apply(NODE, desired, generation)
        self._objects.edit(NODE, node, lambda document: _taints(document, add=True))
        return True

    def uncordon(self, node: str, generation: int) -> None:
        """Take that back; what others have done to the node stays.

        Args:
            node: by name; one that is gone needs nothing.

        Raises:
            FencedError: a later generation has written it.
        """
        if self._objects.read(NODE, node) is None:
            return
        self._objects.apply(NODE, {"metadata": {"name": node}}, generation)
        self._objects.edit(NODE, node, lambda document: _taints(document, add=False))

    def is_cordoned(self, node: str) -> bool:
        """Whether new pods are kept away as ``cordon`` does it; True of a node that is gone."""
        existing = self._objects.read(NODE, node)
        if existing is None:
            return True
        tainted = any(taint["key"] == TAINT for taint in existing["spec"].get("taints") or [])
        return tainted and bool(existing["spec"].get("unschedulable"))

    def drain(self, node: str, *, force: bool) -> list[str]:
        """End the GPU pods of a node.

        Args:
            force: delete them at once; else evict them, with their grace and within their disruption budgets.

        Returns:
            Those that were told to end, as ``namespace/name``; one that its budget protects is told at the next call.

        Raises:
            UnavailableError: the cluster does not answer.
        """
        try:
            pods = [(pod.metadata.namespace, pod.metadata.name) for pod in self._gpu_pods(node)]
            return [f"{namespace}/{name}" for namespace, name in pods if self._end(namespace, name, force)]
        except ApiException as error:
            raise UnavailableError(f"pods of node {node}: {error.status} {error.reason}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"pods of node {node}: no answer: {error}") from error

    def _end(self, namespace: str, name: str, force: bool) -> bool:
        """Tell one pod to end; False where it is gone meanwhile, or its budget protects it for now."""
        try:
            if force:
                self._core.delete_namespaced_pod(name, namespace, grace_period_seconds=0, _request_timeout=_TIMEOUT_S)
            else:
                body = k8s.V1Eviction(metadata=k8s.V1ObjectMeta(name=name, namespace=namespace))
                self._core.create_namespaced_pod_eviction(name, namespace, body, _request_timeout=_TIMEOUT_S)
        except ApiException as error:
            if error.status not in (404, 429):
                raise
            return False
        return True

    def _gpu_pods(self, node: str) -> Iterator[Any]:
        pods = self._core.list_pod_for_all_namespaces(
            field_selector=f"spec.nodeName={node}", _request_timeout=_TIMEOUT_S
        ).items
        for pod in pods:
            owners = {reference.kind for reference in pod.metadata.owner_references or []}
            over = pod.metadata.deletion_timestamp or pod.status.phase in ("Succeeded", "Failed")
            if not over and not owners & {"DaemonSet", "Node"} and _has_gpu(pod):
                yield pod


def _has_gpu(pod: Any) -> bool:
    limits: list[Mapping[str, str]] = [
        container.resources.limits or {} for container in pod.spec.containers if container.resources is not None
    ]
    return bool(pod.spec.resource_claims) or any(name.startswith(_GPU_RESOURCES) for limit in limits for name in limit)


def _taints(document: Document, *, add: bool) -> Mapping[str, Any] | None:
    before = document["spec"].get("taints") or []
    others = [taint for taint in before if taint["key"] != TAINT]
    taints = [*others, {"key": TAINT, "value": "true", "effect": "NoSchedule"}] if add else others
    return None if len(taints) == len(before) else {"spec": {"taints": taints}}
