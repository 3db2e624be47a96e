"""What a pod may ask for: how many GPUs, of which product, with how much memory, or a MIG slice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.pods.quantities import check_quantity

PRODUCT_LABEL = "nvidia.com/gpu.product"
"""Node label of NVIDIA's GPU Feature Discovery."""

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
