"""Keeping work away from nodes, and what nodes say, on the cluster that KUBECONFIG names."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from kubernetes import client as k8s
from kubernetes import config
from kubernetes.client.exceptions import ApiException

from bulkhead.errors import FencedError
from bulkhead.health.observation import place
from bulkhead.health.sources.nodes import NodeSource
from bulkhead.runtimes.kubernetes.nodes import HOLDER, REASON, TAINT, NodeCordons
from tests.fixtures.cluster import default_account
from tests.waiting import until

DEVICES = Path(__file__).parents[2] / "docs" / "devices.md"


@pytest.fixture
def paper(core: k8s.CoreV1Api) -> Iterator[str]:
    """A node on paper, which runs nothing, with a taint of somebody else's."""
    name = f"paper-{uuid.uuid4().hex[:8]}"
    core.create_node(k8s.V1Node(metadata=k8s.V1ObjectMeta(name=name, labels={"bulkhead.dev/pool": "a3"})))
    taint = {"key": "dedicated", "value": "ml", "effect": "NoSchedule"}
    core.patch_node(name, {"spec": {"taints": [taint]}})
    yield name
    core.delete_node(name)


@pytest.fixture
def nodes(api: k8s.ApiClient) -> NodeCordons:
    return NodeCordons(api)


@pytest.fixture
def documented(core: k8s.CoreV1Api, namespace: str, powerless: str) -> Iterator[k8s.ApiClient]:
    """A client that may do what docs/devices.md grants to those who watch a fleet, and no more."""
    (block,) = re.findall(r"```yaml\n(apiVersion: rbac.*?)```", DEVICES.read_text(), re.DOTALL)
    role, name = yaml.safe_load(block), f"fleet-{uuid.uuid4().hex[:8]}"
    rbac, client = k8s.RbacAuthorizationV1Api(core.api_client), config.new_client_from_config(powerless)
    rbac.create_cluster_role({**role, "metadata": {"name": name}})
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    granted = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    rbac.create_cluster_role_binding({"metadata": {"name": name}, "roleRef": granted, "subjects": [subject]})

    def there() -> bool:
        wish = {"spec": {"resourceAttributes": {"resource": "nodes", "verb": "patch"}}}
        return bool(k8s.AuthorizationV1Api(client).create_self_subject_access_review(wish).status.allowed)

    until(there, "what was granted")
    yield client
    rbac.delete_cluster_role_binding(name)
    rbac.delete_cluster_role(name)


def keys(core: k8s.CoreV1Api, name: str) -> set[str]:
    """Keys of a node's taints, but for those that the cluster itself sets."""
    return {
        taint.key for taint in core.read_node(name).spec.taints or [] if not taint.key.startswith("node.kubernetes.io/")
    }


def test_a_node_is_held_and_let_go_and_others_taints_stay(core: k8s.CoreV1Api, nodes: NodeCordons, paper: str) -> None:
    assert not nodes.is_cordoned(paper)
    assert nodes.cordon(paper, 1, "GPU-1: Xid 79", "a test")
    found = core.read_node(paper)
    assert found.spec.unschedulable
    assert keys(core, paper) == {"dedicated", TAINT}
    assert found.metadata.annotations[REASON] == "GPU-1: Xid 79"
    assert nodes.is_cordoned(paper)
    nodes.uncordon(paper, 1)
    found = core.read_node(paper)
    assert not found.spec.unschedulable
    assert keys(core, paper) == {"dedicated"}
    assert not {REASON, HOLDER} & set(found.metadata.annotations or {})


def test_a_node_that_a_person_has_cordoned_stays_so(core: k8s.CoreV1Api, nodes: NodeCordons, paper: str) -> None:
    core.patch_node(paper, {"spec": {"unschedulable": True}}, field_manager="kubectl-cordon")
    nodes.cordon(paper, 1, "GPU-1: Xid 79", "a test")
    nodes.uncordon(paper, 1)
    assert core.read_node(paper).spec.unschedulable
    assert keys(core, paper) == {"dedicated"}


def test_holding_twice_is_holding_once_and_an_older_write_is_refused(nodes: NodeCordons, paper: str) -> None:
    nodes.cordon(paper, 7, "one", "a test")
    nodes.cordon(paper, 7, "two", "a test")
    with pytest.raises(FencedError, match="generation 7"):
        nodes.uncordon(paper, 6)
    assert nodes.is_cordoned(paper)


def test_a_node_that_is_gone_needs_nothing_and_is_not_made(core: k8s.CoreV1Api, nodes: NodeCordons) -> None:
    assert not nodes.cordon("paper-gone", 1, "x", "a test")
    nodes.uncordon("paper-gone", 1)
    assert "paper-gone" not in {one.metadata.name for one in core.list_node().items}


def pod(namespace: str, node: str, name: str, gpus: int, of_node: k8s.V1Node | None = None) -> k8s.V1Pod:
    resources = k8s.V1ResourceRequirements(limits={"nvidia.com/gpu": str(gpus)}) if gpus else None
    security = k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        run_as_non_root=True,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    )
    container = k8s.V1Container(name="base", image="busybox", resources=resources, security_context=security)
    owners = None
    if of_node is not None:
        uid = of_node.metadata.uid
        owners = [k8s.V1OwnerReference(api_version="v1", kind="Node", name=of_node.metadata.name, uid=uid)]
    return k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name=name, namespace=namespace, owner_references=owners),
        spec=k8s.V1PodSpec(node_name=node, containers=[container], service_account_name="default"),
    )


@pytest.mark.parametrize("force", [False, True])
def test_gpu_pods_end_and_others_stay(
    core: k8s.CoreV1Api, nodes: NodeCordons, paper: str, namespace: str, force: bool
) -> None:
    core.create_namespaced_service_account(namespace, k8s.V1ServiceAccount(metadata=k8s.V1ObjectMeta(name="runner")))
    own = core.read_node(paper)
    for name, gpus, of_node in (("gpu", 1, None), ("cpu", 0, None), ("static", 1, own)):
        made = pod(namespace, paper, name, gpus, of_node)
        made.spec.service_account_name = "runner"
        core.create_namespaced_pod(namespace, made)
    assert nodes.drain(paper, force=force) == [f"{namespace}/gpu"]
    left = {one.metadata.name: one.metadata.deletion_timestamp for one in core.list_namespaced_pod(namespace).items}
    assert left["cpu"] is left["static"] is None
    assert left.get("gpu", "gone") is not None


def test_what_the_documentation_grants_is_enough(
    core: k8s.CoreV1Api, documented: k8s.ApiClient, paper: str, namespace: str
) -> None:
    nodes = NodeCordons(documented)
    assert paper in NodeSource(documented).poll(time.time()).nodes
    assert nodes.cordon(paper, 1, "GPU-1: Xid 79", "a test")
    assert nodes.is_cordoned(paper)
    for name, force in (("evicted", False), ("killed", True)):
        core.create_namespaced_pod(namespace, pod(namespace, paper, name, 1))
        assert nodes.drain(paper, force=force) == [f"{namespace}/{name}"]
    nodes.uncordon(paper, 1)
    assert keys(core, paper) == {"dedicated"}
    with pytest.raises(ApiException, match="Forbidden"):
        k8s.CoreV1Api(documented).list_secret_for_all_namespaces()


def test_a_pod_that_its_budget_protects_holds_up_no_other(
    core: k8s.CoreV1Api, nodes: NodeCordons, paper: str, namespace: str
) -> None:
    default_account(core, namespace)
    for name in ("a", "b"):
        made = pod(namespace, paper, name, 1)
        made.metadata.labels = {"app": name}
        core.create_namespaced_pod(namespace, made)
        core.patch_namespaced_pod_status(name, namespace, {"status": {"phase": "Running"}})
    selector = k8s.V1LabelSelector(match_labels={"app": "a"})
    budget = k8s.V1PodDisruptionBudget(
        metadata=k8s.V1ObjectMeta(name="a"), spec=k8s.V1PodDisruptionBudgetSpec(min_available=1, selector=selector)
    )
    policy = k8s.PolicyV1Api(core.api_client)
    policy.create_namespaced_pod_disruption_budget(namespace, budget)
    assert nodes.drain(paper, force=False) == [f"{namespace}/b"]
    left = {one.metadata.name: one.metadata.deletion_timestamp for one in core.list_namespaced_pod(namespace).items}
    assert left["a"] is None and left.get("b", "gone") is not None


def test_nodes_are_read_with_their_pool_and_xids_in_events(
    core: k8s.CoreV1Api, api: k8s.ApiClient, nodes: NodeCordons, paper: str
) -> None:
    condition = {"type": "GpuXidError", "status": "True", "reason": "Xid", "message": "79 seen"}
    core.patch_node_status(paper, {"status": {"conditions": [condition]}})
    nodes.cordon(paper, 1, "x", "a test")
    event = k8s.CoreV1Event(
        metadata=k8s.V1ObjectMeta(name=f"{paper}.1", namespace="default"),
        involved_object=k8s.V1ObjectReference(kind="Node", name=paper),
        type="Warning",
        reason="XidError",
        message="NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.",
        last_timestamp=datetime.now(UTC),
    )
    core.create_namespaced_event("default", event)
    snapshot = NodeSource(api).poll(time.time())
    found = snapshot.nodes[paper]
    assert (found.pool, found.cordoned, found.faults) == ("a3", True, ("GpuXidError: 79 seen",))
    assert [one.xid for one in snapshot.xids[place(paper, "0000:3b:00")]] == [79]
    core.delete_namespaced_event(f"{paper}.1", "default")
