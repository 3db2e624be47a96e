"""How many healthy devices are asked for, of which kind, and where."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health


def check_model(field: str, value: Any) -> None:
    """Refuse what is no pattern of a product's name.

    Args:
        field: name of it, as its author wrote it.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(value, str) or not value:
        raise InvalidInputError(field, value, "give a pattern such as '*H100*', or leave it out")


@dataclass(frozen=True)
class DeviceRequirement:
    """What is waited for.

    Attributes:
        count: healthy devices on each node.
        nodes: how many such nodes; None where the devices may be anywhere.
        model: pattern of the product's name, as in a shell: ``*H100*``; any by default.
        free: whether only devices count that no job has.
    """

    count: int = 1
    nodes: int | None = None
    model: str = "*"
    free: bool = False

    def __post_init__(self) -> None:
        arguments.whole("count", self.count, 1)
        if self.nodes is not None:
            arguments.whole("nodes", self.nodes, 1)
        check_model("model", self.model)
        arguments.switch("free", self.free)

    def __str__(self) -> str:
        """For people."""
        kind = f"{'free ' if self.free else ''}healthy devices of {self.model}"
        return f"{self.count} {kind}" if self.nodes is None else f"{self.nodes} nodes with {self.count} {kind} each"


@dataclass(frozen=True)
class Found:
    """What there is of what is waited for.

    Attributes:
        met: whether it is enough.
        devices: UUIDs by node, of all that count.
        text: how much there is, and what keeps the rest from counting.
    """

    met: bool
    devices: Mapping[str, tuple[str, ...]]
    text: str


def find(requirement: DeviceRequirement, assessment: Assessment, kept: Collection[str]) -> Found:
    """Look for what is required.

    Args:
        kept: devices and nodes that are in quarantine.

    Returns:
        What there is.
    """
    devices: dict[str, list[str]] = {}
    reasons: dict[str, int] = {}
    for device in assessment.devices.values():
        if not fnmatchcase(device.device.model, requirement.model):
            continue
        why = _why_not(device, requirement, assessment, kept)
        if why is None:
            devices.setdefault(device.device.node, []).append(device.device.uuid)
        else:
            reasons[why] = reasons.get(why, 0) + 1
    if requirement.nodes is None:
        met = sum(map(len, devices.values())) >= requirement.count
    else:
        devices = {node: of_node for node, of_node in devices.items() if len(of_node) >= requirement.count}
        met = len(devices) >= requirement.nodes
    text = f"wanted {requirement}; there are {sum(map(len, devices.values()))} on {len(devices)} nodes"
    if reasons:
        text += "; not counted: " + ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
    return Found(met, {node: tuple(sorted(of_node)) for node, of_node in sorted(devices.items())}, text)


def _why_not(
    verdict: DeviceVerdict, requirement: DeviceRequirement, assessment: Assessment, kept: Collection[str]
) -> str | None:
    if verdict.health is not Health.HEALTHY:
        return str(verdict.health)
    if verdict.device.uuid in kept or verdict.device.node in kept:
        return "in quarantine"
    node = assessment.nodes.get(verdict.device.node)
    if node is not None and node.cordoned:
        return "on a cordoned node"
    if node is not None and node.health in (Health.UNHEALTHY, Health.UNKNOWN):
        return f"on a node that is {node.health}"
    return "taken" if requirement.free and verdict.job else None
