"""What is observed of devices: readings, Xids, and the state of their sources."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Field(enum.StrEnum):
    """A number about a device, from any source. A device without one is not known to have zero: it is unknown."""

    SM_CLOCK = "sm_clock_mhz"
    MEMORY_CLOCK = "memory_clock_mhz"
    TEMPERATURE = "temperature_c"
    MEMORY_TEMPERATURE = "memory_temperature_c"
    POWER = "power_w"
    ENERGY = "energy_mj"
    """Counter."""
    UTILISATION = "utilisation_percent"
    """Share of time in which some kernel ran; says nothing of progress."""
    COPY_UTILISATION = "copy_utilisation_percent"
    MEMORY_USED = "memory_used_mib"
    MEMORY_FREE = "memory_free_mib"
    SM_ACTIVE = "sm_active_ratio"
    TENSOR_ACTIVE = "tensor_active_ratio"
    DRAM_ACTIVE = "dram_active_ratio"
    PCIE_REPLAYS = "pcie_replays"
    """Counter."""
    PCIE_WIDTH = "pcie_width"
    PCIE_WIDTH_MAX = "pcie_width_max"
    LAST_XID = "last_xid"
    """The last Xid, for ever: an event only where it changes."""
    RECOVERY_ACTION = "recovery_action"
    """NVML's ``GpuRecoveryAction``: 0 none, 1 reset, 2 reboot, 3 drain P2P, 4 drain and reset."""
    ECC_CORRECTED = "ecc_corrected"
    """Counter."""
    ECC_UNCORRECTED = "ecc_uncorrected"
    """Counter."""
    ROWS_CORRECTED = "rows_remapped_corrected"
    """Counter."""
    ROWS_UNCORRECTED = "rows_remapped_uncorrected"
    """Counter."""
    ROW_REMAP_FAILURE = "row_remap_failure"
    ROW_REMAP_PENDING = "row_remap_pending"
    THROTTLE_REASONS = "throttle_reasons"
    """Bit mask of NVML's clock event reasons."""
    NVLINK_ERRORS = "nvlink_errors"
    """Counter: CRC, replay and recovery errors over all links."""
    NVLINK_BANDWIDTH = "nvlink_bandwidth"


COUNTERS = (
    Field.PCIE_REPLAYS,
    Field.ECC_CORRECTED,
    Field.ECC_UNCORRECTED,
    Field.ROWS_CORRECTED,
    Field.ROWS_UNCORRECTED,
    Field.NVLINK_ERRORS,
)
"""Fields of which the growth counts; a decrease is a restart of the exporter or the node, and no growth."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU.

    Attributes:
        uuid: ``GPU-…``: what it is known by. An index moves when another GPU drops off.
        node: host name.
        model: product name, or empty where it is not known.
        pci: normalised bus id (see ``pci_of``), or empty.
    """

    uuid: str
    node: str = ""
    model: str = ""
    pci: str = ""


@dataclass(slots=True)
class Reading:
    """What one poll showed of one device.

    Attributes:
        device: whose.
        at: seconds since 1970.
        fields: number by field, of the whole GPU.
        job: who had it (``namespace/pod``), or empty.
        instances: number by field, by MIG instance id.
        xid_counts: how often each Xid was counted so far, where the source counts them.
    """

    device: Device
    at: float
    fields: dict[Field, float]
    job: str = ""
    instances: dict[str, dict[Field, float]] | None = None
    xid_counts: dict[int, float] | None = None


@dataclass(frozen=True, slots=True)
class XidEvent:
    """That a device reported an Xid.

    Attributes:
        at: seconds since 1970.
        xid: number of it.
        job: who had the device, or empty.
        text: of the kernel's line, or empty.
        certain: False where only its trace was found, of an unknown age.
    """

    at: float
    xid: int
    job: str = ""
    text: str = ""
    certain: bool = True


@dataclass(frozen=True)
class NodeState:
    """What a cluster says of a node.

    Attributes:
        name: host name.
        ready: whether its kubelet is; None where it is not known.
        cordoned: whether new pods are kept away.
        pool: name of its node pool, or empty.
        faults: conditions about devices that are true, in words, as ``type: message``.
        product: of its GPUs, or empty.
    """

    name: str
    ready: bool | None = None
    cordoned: bool = False
    pool: str = ""
    faults: tuple[str, ...] = ()
    product: str = ""

    def joined(self, other: NodeState) -> NodeState:
        """What two sources say of a node, taken together.

        Args:
            other: the same node's, of another source.
        """
        return NodeState(
            self.name,
            other.ready if self.ready is None else self.ready,
            self.cordoned or other.cordoned,
            self.pool or other.pool,
            (*self.faults, *other.faults),
            self.product or other.product,
        )


@dataclass
class Snapshot:
    """What one poll at one source showed.

    Attributes:
        source: by name.
        at: seconds since 1970.
        readings: by UUID.
        xids: by UUID, of kernel logs and the like.
        nodes: by name, where the source knows of nodes.
        problems: how often something was not understood, by its kind.
        failed: why there is nothing, where the source could not be asked; None where it answered.
        covers: nodes that this source speaks for: of those, a device that is missing is missing.
    """

    source: str
    at: float
    readings: dict[str, Reading] = field(default_factory=dict)
    xids: dict[str, list[XidEvent]] = field(default_factory=dict)
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)
    failed: str | None = None
    covers: frozenset[str] = frozenset()

    @property
    def shown_nodes(self) -> frozenset[str]:
        """Nodes of which it shows a device."""
        return frozenset(reading.device.node for reading in self.readings.values())

    def count(self, problem: str) -> None:
        """Note that something was not understood.

        Args:
            problem: its kind, in a few words.
        """
        self.problems[problem] = self.problems.get(problem, 0) + 1


BY_PLACE = "pci/"
"""Beginning of what stands for a device's UUID where only its place is known."""


def place(node: str, pci: str) -> str:
    """What stands for a device's UUID in a source that knows its node and bus id alone, as a kernel's log does."""
    return f"{BY_PLACE}{node}/{pci}"


def pci_of(text: str) -> str:
    """A PCI bus id in one form: ``0000:3b:00`` of ``00000000:3B:00.0``; empty where it is none.

    Args:
        text: as some source writes it.
    """
    parts = text.strip().lower().split(".")[0].split(":")
    try:
        numbers = [int(part, 16) for part in parts]
    except ValueError:
        return ""
    if len(numbers) == 2:
        numbers.insert(0, 0)
    return f"{numbers[0]:04x}:{numbers[1]:02x}:{numbers[2]:02x}" if len(numbers) == 3 else ""
