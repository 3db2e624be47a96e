from __future__ import annotations

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Device, Field, NodeState, Reading, Snapshot
from bulkhead.health.policy import Policy
from bulkhead.health.sources.tasks import TaskSource
from bulkhead.health.verdict import Health


def test_what_a_task_suspects_makes_its_node_suspect_and_no_device_unhealthy() -> None:
    device = Device("GPU-1", "n1", "H100")
    readings = {device.uuid: Reading(device, 0.0, {Field.TEMPERATURE: 50.0, Field.LAST_XID: 0.0})}
    cluster = Snapshot("kubernetes", 0.0, nodes={"n1": NodeState("n1", ready=True, pool="a")})
    poll = TaskSource(lambda: {"n1": ("device_fault/ecc: it burns",)}).poll(0.0)
    found = Fleet(Policy()).take([Snapshot("dcgm", 0.0, readings), cluster, poll], 0.0)
    node = found.nodes["n1"]
    assert (node.health, node.pool) == (Health.SUSPECT, "a")
    assert "a task's pod failed there: device_fault/ecc: it burns" in node.text
    assert found.devices["GPU-1"].health is Health.HEALTHY


def test_a_ledger_that_is_away_has_failed() -> None:
    def away() -> dict[str, list[str]]:
        raise UnavailableError("the ledger does not answer")

    assert TaskSource(away).poll(0.0).failed == "the ledger does not answer"


@pytest.mark.parametrize("first", [True, False])
def test_what_two_sources_say_of_a_node_is_taken_together(first: bool) -> None:
    one, other = NodeState("n", ready=True, pool="a"), NodeState("n", cordoned=True, faults=("x",))
    joined = one.joined(other) if first else other.joined(one)
    assert joined == NodeState("n", True, True, "a", ("x",))
