"""Having a pod ask for GPUs on Kubernetes, and for nodes that have them.

The node labels are those of NVIDIA's GPU Feature Discovery, the resources those of its device plugin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from kubernetes import client as k8s

from bulkhead.pods.gpu_request import PRODUCT_LABEL, GpuRequest
from bulkhead.pods.identity import MANAGED
from bulkhead.pods.spec import GPU_RESOURCE

MEMORY_LABEL = "nvidia.com/gpu.memory"
"""In MiB."""

_NODE_NAME = "metadata.name"
"""The one field of a node that a selector may name. The label ``kubernetes.io/hostname`` often says something else."""

_PREFERRED = 100
"""The greatest weight that Kubernetes knows."""

_CLAIM = "gpus"
_DRIVER = "gpu.nvidia.com"


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
    if request.device_class:
        _claim(pod, request)
    elif request.count:
        name = f"nvidia.com/mig-{request.mig_profile}" if request.mig_profile else GPU_RESOURCE
        for kind in ("limits", "requests"):
            setattr(container.resources, kind, {**(getattr(container.resources, kind) or {}), name: str(request.count)})
    if request.product and not request.device_class:
        spec.node_selector = {**(spec.node_selector or {}), PRODUCT_LABEL: request.product}
    terms = []
    if request.memory_gib is not None and not request.device_class:
        least = str(request.memory_gib * 1024 - 1)
        terms.append(k8s.V1NodeSelectorRequirement(key=MEMORY_LABEL, operator="Gt", values=[least]))
    _require(spec, terms, _not_in(request.exclude_nodes))
    _prefer(spec, _not_in(request.avoid_nodes))
    tolerations = [k8s.V1Toleration(key=key, operator="Exists") for key in request.tolerate_spot]
    spec.tolerations = [*(spec.tolerations or []), *tolerations] or None
    if request.shared_memory:
        source = k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit=request.shared_memory)
        spec.volumes = [*(spec.volumes or []), k8s.V1Volume(name="shared-memory", empty_dir=source)]
        mount = k8s.V1VolumeMount(name="shared-memory", mount_path="/dev/shm")
        container.volume_mounts = [*(container.volume_mounts or []), mount]
    return pod


def bind(pod: k8s.V1Pod, node: str) -> k8s.V1Pod:
    """Have a pod run on one node, and still be scheduled there: its devices have to be free.

    Returns:
        The pod.
    """
    there = k8s.V1NodeSelectorRequirement(key=_NODE_NAME, operator="In", values=[node])
    _require(pod.spec, [], [there])
    return pod


def claim_template(request: GpuRequest, namespace: str) -> k8s.V1ResourceClaimTemplate:
    """The template that a pod's claim is made from. Equal requests share one, by its name.

    Args:
        request: with a device class.
    """
    cel = [k8s.V1DeviceSelector(cel=k8s.V1CELDeviceSelector(expression=selector)) for selector in _selectors(request)]
    exactly = k8s.V1ExactDeviceRequest(
        device_class_name=request.device_class,
        allocation_mode="ExactCount",
        count=request.count,
        selectors=cel or None,
    )
    devices = k8s.V1DeviceClaim(requests=[k8s.V1DeviceRequest(name=_CLAIM, exactly=exactly)])
    return k8s.V1ResourceClaimTemplate(
        metadata=k8s.V1ObjectMeta(name=_template_name(request), namespace=namespace, labels={MANAGED: "true"}),
        spec=k8s.V1ResourceClaimTemplateSpec(spec=k8s.V1ResourceClaimSpec(devices=devices)),
    )


def _claim(pod: k8s.V1Pod, request: GpuRequest) -> None:
    claim = k8s.V1PodResourceClaim(name=_CLAIM, resource_claim_template_name=_template_name(request))
    pod.spec.resource_claims = [*(pod.spec.resource_claims or []), claim]
    resources = pod.spec.containers[0].resources
    resources.claims = [*(resources.claims or []), k8s.CoreV1ResourceClaim(name=_CLAIM)]


def _selectors(request: GpuRequest) -> list[str]:
    """CEL over what NVIDIA's DRA driver says of a device."""
    selectors = list(request.device_selectors)
    if request.product:
        selectors.append(f'device.attributes["{_DRIVER}"].productName == {json.dumps(request.product)}')
    if request.memory_gib is not None:
        least = f'quantity("{request.memory_gib}Gi")'
        selectors.append(f'device.capacity["{_DRIVER}"].memory.compareTo({least}) >= 0')
    return selectors


def _template_name(request: GpuRequest) -> str:
    parts = [request.device_class, request.count, *_selectors(request)]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
    return f"bulkhead-{request.device_class}-{digest}"


def _not_in(nodes: Sequence[str]) -> list[k8s.V1NodeSelectorRequirement]:
    """Of a field, a requirement names one value."""
    return [k8s.V1NodeSelectorRequirement(key=_NODE_NAME, operator="NotIn", values=[node]) for node in nodes]


def _node_affinity(spec: k8s.V1PodSpec) -> k8s.V1NodeAffinity:
    spec.affinity = spec.affinity or k8s.V1Affinity()
    spec.affinity.node_affinity = spec.affinity.node_affinity or k8s.V1NodeAffinity()
    return spec.affinity.node_affinity


def _require(
    spec: k8s.V1PodSpec,
    labels: list[k8s.V1NodeSelectorRequirement],
    fields: list[k8s.V1NodeSelectorRequirement],
) -> None:
    """Add requirements to each of the author's own alternatives (terms of an affinity are or-ed)."""
    if not labels and not fields:
        return
    affinity = _node_affinity(spec)
    required = affinity.required_during_scheduling_ignored_during_execution
    own = list(required.node_selector_terms) if required else [k8s.V1NodeSelectorTerm()]
    for term in own:
        term.match_expressions = [*(term.match_expressions or []), *labels] or None
        term.match_fields = [*(term.match_fields or []), *fields] or None
    affinity.required_during_scheduling_ignored_during_execution = k8s.V1NodeSelector(node_selector_terms=own)


def _prefer(spec: k8s.V1PodSpec, fields: list[k8s.V1NodeSelectorRequirement]) -> None:
    """Prefer nodes that meet all of the requirements: one term, or each of many bad nodes would count for little."""
    if not fields:
        return
    affinity = _node_affinity(spec)
    term = k8s.V1PreferredSchedulingTerm(weight=_PREFERRED, preference=k8s.V1NodeSelectorTerm(match_fields=fields))
    own = affinity.preferred_during_scheduling_ignored_during_execution or []
    affinity.preferred_during_scheduling_ignored_during_execution = [*own, term]
