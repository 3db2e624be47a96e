from __future__ import annotations

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.health.observation import Device
from bulkhead.health.requirement import DeviceRequirement, find
from bulkhead.health.verdict import Assessment, DeviceVerdict, Health, NodeVerdict, Reason
from bulkhead.xids import RecommendedAction


def fleet(*message: str, cordoned: str = "", unhealthy: str = "") -> Assessment:
    """Devices as ``a0:healthy``, or ``a0:healthy:job``; the first letter is the node."""
    devices, nodes = {}, {}
    for one in message:
        name, health, *job = one.split(":")
        device = Device(name, name[0], "NVIDIA H100 80GB HBM3" if name[0] != "t" else "Tesla T4")
        devices[name] = DeviceVerdict(
            device, Health(health), Reason.NOTHING, "", RecommendedAction.NONE, 1.0, 0.0, 0.0, *job
        )
        state = Health.UNHEALTHY if name[0] in unhealthy else Health.HEALTHY
        nodes[name[0]] = NodeVerdict(
            name[0], state, Reason.NOTHING, "", RecommendedAction.NONE, 1, 1, "", name[0] in cordoned
        )
    return Assessment(0.0, devices, nodes)


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        (DeviceRequirement(3), True),
        (DeviceRequirement(4), False),
        (DeviceRequirement(2, nodes=1), True),
        (DeviceRequirement(2, nodes=2), False),
        (DeviceRequirement(1, nodes=2), True),
        (DeviceRequirement(1, model="*T4*"), False),
        (DeviceRequirement(2, free=True), True),
        (DeviceRequirement(3, free=True), False),
    ],
)
def test_it_is_met_by_count_nodes_model_and_freedom(requirement: DeviceRequirement, met: bool) -> None:
    assessment = fleet("a0:healthy", "a1:healthy:ml/train", "b0:healthy", "b1:suspect", "c0:unknown")
    assert find(requirement, assessment, ()).met is met


def test_what_does_not_count_is_told() -> None:
    message = ("a0:healthy", "b0:unhealthy", "b1:unknown", "c0:healthy", "d0:healthy", "e0:healthy")
    assessment = fleet(*message, cordoned="d", unhealthy="e")
    found = find(DeviceRequirement(9), assessment, {"c0"})
    assert found.devices == {"a": ("a0",)}
    assert found.text == (
        "wanted 9 healthy devices of *; there are 1 on 1 nodes; not counted: 1 in quarantine, 1 on a cordoned node, "
        "1 on a node that is unhealthy, 1 unhealthy, 1 unknown"
    )


@pytest.mark.parametrize("arguments", [{"count": 0}, {"nodes": 0}, {"model": ""}])
def test_bad_input_is_named(arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(arguments))):
        DeviceRequirement(**arguments)  # type: ignore[arg-type]
