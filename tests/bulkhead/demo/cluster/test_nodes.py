"""What the demo does to nodes, and that it is undone."""

from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.demo.cluster import nodes
from bulkhead.pods.spec import GPU_RESOURCE as GPU


class FewNodes:
    """Nodes and pods of a cluster in memory, as ``CoreV1Api`` gives them. Attributes: refuses: by pod, statuses of its
    next evictions."""

    def __init__(self, *names: str, gpus: bool = False) -> None:
        self.nodes = {
            name: k8s.V1Node(
                metadata=k8s.V1ObjectMeta(name=name, annotations={}),
                spec=k8s.V1NodeSpec(unschedulable=False),
                status=k8s.V1NodeStatus(allocatable={GPU: "4"} if gpus else {"cpu": "2"}, capacity={}),
            )
            for name in names
        }
        self.pods: list[k8s.V1Pod] = []
        self.refuses: dict[str, list[int]] = {}

    def run(self, name: str, node: str, app: str = "", phase: str = "Running") -> None:
        metadata = k8s.V1ObjectMeta(
            name=name, namespace="demo", uid=f"uid-{name}", labels={"app": app} if app else None
        )
        spec = k8s.V1PodSpec(containers=[], node_name=node)
        self.pods.append(k8s.V1Pod(metadata=metadata, spec=spec, status=k8s.V1PodStatus(phase=phase)))

    def list_node(self) -> Any:
        return SimpleNamespace(items=list(self.nodes.values()))

    def patch_node(self, name: str, patch: dict[str, Any]) -> None:
        for key, value in patch["metadata"]["annotations"].items():
            self._set(self.nodes[name].metadata.annotations, key, value)
        if "spec" in patch:
            self.nodes[name].spec.unschedulable = patch["spec"]["unschedulable"]

    def patch_node_status(self, name: str, patch: dict[str, Any]) -> None:
        for key, value in patch["status"]["capacity"].items():
            self._set(self.nodes[name].status.capacity, key, value)

    def list_namespaced_pod(self, namespace: str, field_selector: str) -> Any:
        node = field_selector.removeprefix("spec.nodeName=")
        chosen = [pod for pod in self.pods if pod.metadata.namespace == namespace and pod.spec.node_name == node]
        return SimpleNamespace(items=chosen)

    def create_namespaced_pod_eviction(self, name: str, namespace: str, eviction: k8s.V1Eviction) -> None:
        assert eviction.delete_options.preconditions.uid == f"uid-{name}"
        if self.refuses.get(name):
            raise ApiException(status=self.refuses[name].pop())
        self.pods = [pod for pod in self.pods if pod.metadata.name != name]

    @staticmethod
    def _set(mapping: dict[str, Any], key: str, value: Any) -> None:
        if value is None:
            mapping.pop(key, None)
        else:
            mapping[key] = value


def test_gpus_are_played_where_there_are_none_and_taken_back() -> None:
    cluster: Any = FewNodes("a", "b")
    assert nodes.play_gpus(cluster, 8) == ["a", "b"]
    assert cluster.nodes["a"].status.capacity == {GPU: "8"}
    nodes.undo(cluster)
    assert cluster.nodes["a"].status.capacity == {} and cluster.nodes["a"].metadata.annotations == {}


def test_where_there_are_gpus_none_is_played_nor_taken_away() -> None:
    cluster: Any = FewNodes("a", gpus=True)
    assert nodes.play_gpus(cluster, 8) == []
    cluster.nodes["a"].status.capacity[GPU] = "4"
    nodes.undo(cluster)
    assert cluster.nodes["a"].status.capacity == {GPU: "4"}


def test_only_what_the_demo_has_cordoned_is_uncordoned() -> None:
    cluster: Any = FewNodes("a", "b", "c")
    cluster.nodes["c"].spec.unschedulable = True  # somebody else's doing
    nodes.cordon(cluster, "a")
    assert nodes.schedulable(cluster) == ["b"]
    nodes.uncordon(cluster)
    assert nodes.schedulable(cluster) == ["a", "b"]


def test_a_drain_moves_the_demos_own_pods_and_asks_again_for_those_that_are_kept() -> None:
    cluster: Any = FewNodes("a")
    cluster.run("reconciler", "a")
    cluster.run("server", "a")
    cluster.run("postgres", "a", app="postgres")
    cluster.run("done", "a", phase="Succeeded")
    cluster.run("elsewhere", "b")
    cluster.refuses = {"server": [429]}
    moved = nodes.evictable(cluster, "a", ["demo"], ["postgres"])
    assert [name for _, name, _ in moved] == ["reconciler", "server"]
    nodes.evict(cluster, moved)
    assert [name for _, name, _ in nodes.evictable(cluster, "a", ["demo"], ["postgres"])] == ["server"]
    nodes.evict(cluster, moved[1:])
    assert nodes.evictable(cluster, "a", ["demo"], ["postgres"]) == []
    cluster.refuses = {"x": [403]}
    with pytest.raises(ApiException):
        nodes.evict(cluster, [("demo", "x", "uid-x")])
