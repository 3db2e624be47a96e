"""Asking for GPUs on Kubernetes: how many, of which product, with how much memory, or a MIG slice.

The node labels are those of NVIDIA's GPU Feature Discovery, the resources those of its device plugin.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.pods.identity import MANAGED
from bulkhead.pods.spec import GPU_RESOURCE, check_quantity

PRODUCT_LABEL = "nvidia.com/gpu.product"
MEMORY_LABEL = "nvidia.com/gpu.memory"
"""In MiB."""

_NODE_NAME = "metadata.name"
"""The one field of a node that a selector may name. The label ``kubernetes.io/hostname`` often says something else."""

_PREFERRED = 100
"""The greatest weight that Kubernetes knows."""

_CLAIM = "gpus"
_DRIVER = "gpu.nvidia.com"
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
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
        exclude_nodes: names of nodes that must not be used.
        avoid_nodes: names of nodes to use only where no other has room.
        device_class: ask by Dynamic Resource Allocation for devices of this ``DeviceClass``, instead of the device
            plugin's ``nvidia.com/gpu``. ``product`` and ``memory_gib`` then become selectors of NVIDIA's DRA driver.
        device_selectors: more CEL expressions that each device has to satisfy.
    """

    count: int = 1
    product: str | None = None
    memory_gib: int | None = None
    mig_profile: str | None = None
    shared_memory: str | None = None
    tolerate_spot: tuple[str, ...] = ()
    exclude_nodes: tuple[str, ...] = ()
    avoid_nodes: tuple[str, ...] = ()
    device_class: str | None = None
    device_selectors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        arguments.whole("gpus", self.count, 0)
        if self.product is not None:
            arguments.text("gpu_product", self.product)
        if self.product is not None and self.device_class is None and not _LABEL_VALUE.fullmatch(self.product):
            remedy = f"give a value of the node label {PRODUCT_LABEL}, such as 'NVIDIA-H100-80GB-HBM3'"
            raise InvalidInputError("gpu_product", self.product, remedy)
        if self.mig_profile is not None and not (isinstance(self.mig_profile, str) and _MIG.match(self.mig_profile)):
            raise InvalidInputError("mig_profile", self.mig_profile, "give a profile such as '1g.10gb'")
        if self.memory_gib is not None:
            arguments.whole("gpu_memory_gib", self.memory_gib, 1)
        check_quantity("shared_memory", self.shared_memory)
        for name in ("tolerate_spot", "exclude_nodes", "avoid_nodes", "device_selectors"):
            arguments.texts(name, getattr(self, name))
        if self.device_class is not None:
            arguments.text("device_class", self.device_class)
        if self.device_class is None and self.device_selectors:
            raise InvalidInputError("device_selectors", self.device_selectors, "name a device_class as well")
        if self.device_class is not None and self.count == 0:
            raise InvalidInputError("gpus", 0, f"ask for at least 1 device of class {self.device_class!r}")
        if self.device_class is not None and self.mig_profile is not None:
            raise InvalidInputError(
                "mig_profile", self.mig_profile, "a device class has its own slices: name one, or use device_selectors"
            )


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
