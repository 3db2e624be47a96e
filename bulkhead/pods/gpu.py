"""Asking for GPUs on Kubernetes: how many, of which product, with how much memory, or a MIG slice.

The node labels are those of NVIDIA's GPU Feature Discovery, the resources those of its device plugin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.pods.spec import GPU_RESOURCE

PRODUCT_LABEL = "nvidia.com/gpu.product"
MEMORY_LABEL = "nvidia.com/gpu.memory"
"""In MiB."""

HOSTNAME_LABEL = "kubernetes.io/hostname"
_MIG = re.compile(r"^\d+g\.\d+gb$")


@dataclass(frozen=True)
class GpuRequest:
    """What a pod asks for.

    Attributes:
        count: whole GPUs, or slices where ``mig_profile`` is named; at least 0.
        product: value of the node label ``nvidia.com/gpu.product``, or None for any.
        memory_gib: least memory of each GPU in GiB, or None for any.
        mig_profile: for instance ``1g.10gb``, or None for whole GPUs.
        shared_memory: size of ``/dev/shm`` as a Kubernetes quantity (NCCL and data loaders need more than 64 MiB).
        tolerate_spot: label keys whose taint the pod tolerates, for spot nodes.
        exclude_nodes: host names to stay away from.
    """

    count: int = 1
    product: str | None = None
    memory_gib: int | None = None
    mig_profile: str | None = None
    shared_memory: str | None = None
    tolerate_spot: tuple[str, ...] = ()
    exclude_nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 0:
            raise InvalidInputError("gpus", self.count, "ask for 0 or more")
        if self.mig_profile is not None and not _MIG.match(self.mig_profile):
            raise InvalidInputError("mig_profile", self.mig_profile, "give a profile such as '1g.10gb'")
        if self.memory_gib is not None and self.memory_gib < 1:
            raise InvalidInputError("gpu_memory_gib", self.memory_gib, "give at least 1 GiB")


def place(pod: k8s.V1Pod, request: GpuRequest) -> k8s.V1Pod:
    """Have a pod ask for GPUs, and for nodes that have them.

    Args:
        pod: is changed; its first container gets the GPUs.
        request: what it asks for.

    Returns:
        The pod.
    """
    spec, container = pod.spec, pod.spec.containers[0]
    container.resources = container.resources or k8s.V1ResourceRequirements()
    if request.count:
        name = f"nvidia.com/mig-{request.mig_profile}" if request.mig_profile else GPU_RESOURCE
        for kind in ("limits", "requests"):
            setattr(container.resources, kind, {**(getattr(container.resources, kind) or {}), name: str(request.count)})
    if request.product:
        spec.node_selector = {**(spec.node_selector or {}), PRODUCT_LABEL: request.product}
    terms = []
    if request.memory_gib is not None:
        least = str(request.memory_gib * 1024 - 1)
        terms.append(k8s.V1NodeSelectorRequirement(key=MEMORY_LABEL, operator="Gt", values=[least]))
    if request.exclude_nodes:
        names = list(request.exclude_nodes)
        terms.append(k8s.V1NodeSelectorRequirement(key=HOSTNAME_LABEL, operator="NotIn", values=names))
    _require(spec, terms)
    tolerations = [k8s.V1Toleration(key=key, operator="Exists") for key in request.tolerate_spot]
    spec.tolerations = [*(spec.tolerations or []), *tolerations] or None
    if request.shared_memory:
        source = k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit=request.shared_memory)
        spec.volumes = [*(spec.volumes or []), k8s.V1Volume(name="shared-memory", empty_dir=source)]
        mount = k8s.V1VolumeMount(name="shared-memory", mount_path="/dev/shm")
        container.volume_mounts = [*(container.volume_mounts or []), mount]
    return pod


def _require(spec: k8s.V1PodSpec, terms: list[k8s.V1NodeSelectorRequirement]) -> None:
    """Add requirements to each of the author's own alternatives (terms of an affinity are or-ed)."""
    if not terms:
        return
    spec.affinity = spec.affinity or k8s.V1Affinity()
    spec.affinity.node_affinity = spec.affinity.node_affinity or k8s.V1NodeAffinity()
    nodes = spec.affinity.node_affinity
    required = nodes.required_during_scheduling_ignored_during_execution
    own = list(required.node_selector_terms) if required else [k8s.V1NodeSelectorTerm()]
    for term in own:
        term.match_expressions = [*(term.match_expressions or []), *terms]
    nodes.required_during_scheduling_ignored_during_execution = k8s.V1NodeSelector(node_selector_terms=own)
