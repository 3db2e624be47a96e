"""What the demo does to nodes: GPUs that it plays, and a drain. Each is noted on the node, so that it can be undone by
whoever comes after a demo that was killed."""

from __future__ import annotations

from collections.abc import Collection

from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.pods.identity import LABEL_PREFIX
from bulkhead.pods.spec import GPU_RESOURCE

_PLAYED = LABEL_PREFIX + "demo-gpus"
_CORDONED = LABEL_PREFIX + "demo-cordoned"
_DISRUPTED = 429


def play_gpus(core: k8s.CoreV1Api, count: int) -> list[str]:
    """Where no node of the cluster has GPUs, have each say that it has some.

    By the way that Kubernetes has for it: the node's capacity is patched, and the scheduler counts. Nothing is behind
    it: the demo's model computes on the CPU.

    Returns:
        Names of the nodes; empty where there are GPUs.
    """
    nodes = core.list_node().items
    if any(GPU_RESOURCE in (node.status.allocatable or {}) for node in nodes):
        return []
    for node in nodes:
        core.patch_node(node.metadata.name, {"metadata": {"annotations": {_PLAYED: str(count)}}})
        core.patch_node_status(node.metadata.name, {"status": {"capacity": {GPU_RESOURCE: str(count)}}})
    return [node.metadata.name for node in nodes]


def schedulable(core: k8s.CoreV1Api) -> list[str]:
    """Names of the nodes that take new pods."""
    return [node.metadata.name for node in core.list_node().items if not node.spec.unschedulable]


def cordon(core: k8s.CoreV1Api, node: str) -> None:
    """Have a node take no new pods."""
    noted = {"annotations": {_CORDONED: "true"}}
    core.patch_node(node, {"metadata": noted, "spec": {"unschedulable": True}})


def uncordon(core: k8s.CoreV1Api) -> None:
    """Have the nodes that the demo has cordoned take pods again."""
    for node in core.list_node().items:
        if _CORDONED in (node.metadata.annotations or {}):
            noted = {"annotations": {_CORDONED: None}}
            core.patch_node(node.metadata.name, {"metadata": noted, "spec": {"unschedulable": False}})


def undo(core: k8s.CoreV1Api) -> None:
    """Undo what the demo has done to nodes."""
    uncordon(core)
    for node in core.list_node().items:
        if _PLAYED in (node.metadata.annotations or {}):
            core.patch_node_status(node.metadata.name, {"status": {"capacity": {GPU_RESOURCE: None}}})
            core.patch_node(node.metadata.name, {"metadata": {"annotations": {_PLAYED: None}}})


def evictable(
    core: k8s.CoreV1Api, node: str, namespaces: Collection[str], spared: Collection[str]
) -> list[tuple[str, str, str]]:
    """Pods of a node that a drain moves.

    Args:
        namespaces: of the pods: others' are left alone.
        spared: values of the label ``app`` of pods that stay.

    Returns:
        Namespace, name and UID of each.
    """
    return [
        (namespace, pod.metadata.name, pod.metadata.uid)
        for namespace in namespaces
        for pod in core.list_namespaced_pod(namespace, field_selector=f"spec.nodeName={node}").items
        if (pod.metadata.labels or {}).get("app") not in spared and pod.status.phase not in ("Succeeded", "Failed")
    ]


def evict(core: k8s.CoreV1Api, pods: Collection[tuple[str, str, str]]) -> None:
    """Ask for the end of pods, as ``kubectl drain`` does. What a PodDisruptionBudget keeps for now is to be asked
    again."""
    for namespace, name, uid in pods:
        eviction = k8s.V1Eviction(
            metadata=k8s.V1ObjectMeta(name=name, namespace=namespace),
            delete_options=k8s.V1DeleteOptions(preconditions=k8s.V1Preconditions(uid=uid)),
        )
        try:
            core.create_namespaced_pod_eviction(name, namespace, eviction)
        except ApiException as refused:
            if refused.status not in (404, 409, _DISRUPTED):  # gone, replaced, or kept for now
                raise
