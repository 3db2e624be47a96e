"""A fleet under watch from exporter to node, on the cluster that KUBECONFIG names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client as k8s

from bulkhead import fleets
from bulkhead.control import Control
from bulkhead.health.verdict import Health
from bulkhead.runtimes.kubernetes.nodes import REASON, TAINT
from bulkhead.settings import Exporter, FleetSettings, Settings
from tests.servers import Backend


def exposition(nodes: list[str], **xids: int) -> str:
    lines = []
    for index, node in enumerate(nodes):
        labels = f'UUID="GPU-{index}",Hostname="{node}",modelName="H100"'
        last = xids.get(f"g{index}", 0)
        lines += [f"DCGM_FI_DEV_GPU_TEMP{{{labels}}} 50", f"DCGM_FI_DEV_XID_ERRORS{{{labels}}} {last}"]
    return "\n".join(lines) + "\n"


@pytest.fixture
def nodes(core: k8s.CoreV1Api) -> Iterator[list[str]]:
    """Three nodes of one pool, on paper."""
    names = [f"paper-{uuid.uuid4().hex[:8]}" for _ in range(3)]
    for name in names:
        core.create_node(k8s.V1Node(metadata=k8s.V1ObjectMeta(name=name, labels={"bulkhead.dev/pool": "a"})))
        ready = {"type": "Ready", "status": "True", "reason": "OnPaper", "message": ""}
        core.patch_node_status(name, {"status": {"conditions": [ready]}})
    yield names
    for name in names:
        core.delete_node(name)


def test_an_unhealthy_device_takes_its_node_away_and_a_test_brings_it_back(
    core: k8s.CoreV1Api, nodes: list[str], tmp_path: Path
) -> None:
    exporter = Backend(exposition(nodes))
    fleet = FleetSettings(
        exporters=(Exporter(url=f"http://127.0.0.1:{exporter.port}/metrics"),), nodes=True, cluster="here"
    )
    settings = Settings(home=tmp_path, fleet=fleet, kubeconfigs={"here": os.environ["KUBECONFIG"]})
    control = Control(settings)
    watch, controller = (
        fleets.watch(settings, control.ledger.quarantines),
        fleets.controller(settings, control.ledger.quarantines),
    )
    controller.step(watch.poll())
    assert not core.read_node(nodes[0]).spec.unschedulable

    exporter.name = exposition(nodes, g0=95, g1=95)
    done = controller.step(watch.poll())
    assert len(done.started) == 1, "the first; the budget of three devices is one"
    assert len(done.refused) == 1
    (held,) = control.ledger.quarantines.open_ones()
    found = core.read_node(held.node)
    assert found.spec.unschedulable
    assert TAINT in {taint.key for taint in found.spec.taints}
    assert "Xid 95" in found.metadata.annotations[REASON]

    control.ledger.quarantines.passed(held.target, "quick")
    controller.step(watch.poll())
    found = core.read_node(held.node)
    assert not found.spec.unschedulable
    assert TAINT not in {taint.key for taint in found.spec.taints or []}
    assert watch.poll().devices[held.target].health is Health.HEALTHY
    exporter.stop()
