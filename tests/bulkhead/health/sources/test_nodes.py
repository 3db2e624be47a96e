from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.health.sources.nodes import NodeSource, state


def node(*conditions: tuple[str, str], labels: dict[str, str] | None = None, **spec: Any) -> k8s.V1Node:
    said = [k8s.V1NodeCondition(type=kind, status=status, message="why") for kind, status in conditions]
    return k8s.V1Node(
        metadata=k8s.V1ObjectMeta(name="n1", labels=labels),
        spec=k8s.V1NodeSpec(**spec),
        status=k8s.V1NodeStatus(conditions=said),
    )


@pytest.mark.parametrize(
    ("kind", "status", "faults"),
    [
        ("GpuXidError", "True", ("GpuXidError: why",)),
        ("GpuXidError", "False", ()),
        ("GpuXidError", "Unknown", ()),
        ("NvidiaGPUHealthy", "False", ("NvidiaGPUHealthy: why",)),
        ("NvidiaGPUHealthy", "True", ()),
        ("AcceleratedHardwareReady", "False", ("AcceleratedHardwareReady: why",)),
        ("GPUUnhealthy", "False", ()),
        ("GPUUnhealthy", "True", ("GPUUnhealthy: why",)),
        ("GpuNotHealthy", "False", ()),
        ("GpuNotHealthy", "True", ("GpuNotHealthy: why",)),
        ("DiskPressure", "True", ()),
    ],
)
def test_conditions_of_devices_are_read_by_their_names(kind: str, status: str, faults: tuple[str, ...]) -> None:
    assert state(node(("Ready", "True"), (kind, status))).faults == faults


def test_readiness_cordon_pool_and_product_are_told() -> None:
    labels = {"cloud.google.com/gke-nodepool": "a3", "nvidia.com/gpu.product": "H100"}
    found = state(node(("Ready", "False"), labels=labels, unschedulable=True))
    assert (found.ready, found.cordoned, found.pool, found.product) == (False, True, "a3", "H100")
    assert state(node()).ready is None


def test_taints_of_devices_are_faults_but_not_our_own_nor_the_usual_one() -> None:
    keys = ("nvidia.com/gpu", "bulkhead.dev/quarantine", "example.com/gpu-broken", "dedicated")
    taints = [k8s.V1Taint(key=key, effect="NoSchedule", value="x") for key in keys]
    assert state(node(taints=taints)).faults == ("taint example.com/gpu-broken=x",)


@pytest.mark.parametrize("key", ["gpu", "accelerator", "nvidia.com/gpu.product", "node.example.com/gpu-pool"])
def test_a_taint_that_keeps_nodes_for_who_wants_a_gpu_is_no_fault(key: str) -> None:
    assert state(node(taints=[k8s.V1Taint(key=key, effect="NoSchedule", value="x")])).faults == ()


def test_a_cluster_that_is_away_has_failed() -> None:
    configuration = k8s.Configuration(host="http://127.0.0.1:9")
    configuration.retries = False
    assert "Connection refused" in (NodeSource(k8s.ApiClient(configuration)).poll(0.0).failed or "")
