"""Servers of revisions on a real API server, with a kubelet where the cluster has one."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.errors import FencedError, RefusedError
from bulkhead.ledger.tables import Revision
from bulkhead.pods.outcome import FailureClass
from bulkhead.pods.serving_names import server_name
from bulkhead.runtimes.kubernetes.objects import DEPLOYMENT, NETWORK_POLICY, SERVICE, Objects
from bulkhead.workloads.kubernetes import KubernetesWorkloads
from bulkhead.workloads.workload_kinds import SERVES
from tests.fixtures.serving import Now, served
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def server(sqlite_url: str, workloads: KubernetesWorkloads) -> Iterator[Revision]:
    yield served(sqlite_url)


def _failure(workloads: KubernetesWorkloads, server: Revision) -> Any:
    found = workloads.find(server.id)
    return found.status.failure if found and found.status.ended else None


def test_a_server_is_three_objects_and_launching_again_changes_none(
    server: Revision, workloads: KubernetesWorkloads, objects: Objects
) -> None:
    assert workloads.find(server.id) is None
    workloads.launch(server, 3)
    before = objects.read(DEPLOYMENT, server_name(server.id))
    workloads.launch(server, 3)
    after = objects.read(DEPLOYMENT, server_name(server.id))
    assert before is not None and after is not None
    assert before["spec"] == after["spec"]
    assert before["metadata"]["generation"] == after["metadata"]["generation"]
    found = workloads.find(server.id)
    assert found is not None and found.url("/x").endswith(f"{objects.namespace}.svc:8080/x")
    assert objects.read(SERVICE, server_name(server.id)) is not None
    workloads.stop(server.id, 3)
    workloads.stop(server.id, 3)
    assert workloads.find(server.id) is None
    assert objects.read(SERVICE, server_name(server.id)) is None


def test_a_zombie_neither_changes_nor_stops_it(server: Revision, workloads: KubernetesWorkloads) -> None:
    workloads.launch(server, 5)
    with pytest.raises(FencedError, match="generation 5 step 0, later than 4"):
        workloads.launch(server, 4)
    with pytest.raises(FencedError):
        workloads.stop(server.id, 4)
    assert workloads.find(server.id) is not None


def test_what_others_change_is_named_and_written_again(
    server: Revision, workloads: KubernetesWorkloads, objects: Objects, api: k8s.ApiClient
) -> None:
    workloads.launch(server, 1)
    assert workloads.drift(server, 1) is None
    apps = k8s.AppsV1Api(api)
    scaled = {"spec": {"replicas": 3}}
    apps.patch_namespaced_deployment(server_name(server.id), objects.namespace, scaled, field_manager="kubectl-scale")
    assert workloads.drift(server, 1) == 'spec.replicas was set by "kubectl-scale" using apps/v1'
    workloads.launch(server, 1)
    assert workloads.drift(server, 1) is None
    unnoted = {"metadata": {"annotations": {"bulkhead.dev/port": None}}}
    apps.patch_namespaced_deployment(server_name(server.id), objects.namespace, unnoted)
    found = workloads.find(server.id)
    assert found is not None and found.port == 8080
    assert (
        workloads.drift(server, 1)
        == f"Deployment {server_name(server.id)} was changed at metadata.annotations.bulkhead.dev/port"
    )
    workloads.launch(server, 1)
    assert workloads.drift(server, 1) is None
    k8s.CoreV1Api(api).delete_namespaced_service(server_name(server.id), objects.namespace)
    assert workloads.drift(server, 1) == f"Service {server_name(server.id)} was deleted"
    workloads.launch(server, 1)
    assert workloads.drift(server, 1) is None


def test_an_autoscaler_may_have_the_number_of_pods(
    sqlite_url: str, workloads: KubernetesWorkloads, objects: Objects, api: k8s.ApiClient
) -> None:
    server = served(sqlite_url, replicas=None)
    workloads.launch(server, 1)
    k8s.AppsV1Api(api).patch_namespaced_deployment(server_name(server.id), objects.namespace, {"spec": {"replicas": 2}})
    assert workloads.drift(server, 1) is None


def test_what_the_cluster_refuses_is_told(sqlite_url: str, workloads: KubernetesWorkloads) -> None:
    server = served(sqlite_url, memory="1Gi", pod={"containers": [{"name": "main", "env": [{"name": "a b c="}]}]})
    with pytest.raises(RefusedError, match=r"a b c="):
        workloads.launch(server, 1)


def test_nobody_reaches_what_is_cut_off(server: Revision, workloads: KubernetesWorkloads, objects: Objects) -> None:
    workloads.deny_network(server.id)
    workloads.deny_network(server.id)
    [policy] = objects.list(NETWORK_POLICY, {"bulkhead.dev/revision": server.id})
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not policy["spec"].get("ingress") and not policy["spec"].get("egress")
    workloads.allow_network(server.id)
    workloads.allow_network(server.id)
    assert objects.list(NETWORK_POLICY, {"bulkhead.dev/revision": server.id}) == []


@pytest.mark.usefixtures("running_nodes")
def test_it_is_ready_when_its_pods_are(server: Revision, workloads: KubernetesWorkloads) -> None:
    workloads.launch(server, 1)
    until(lambda: (found := workloads.find(server.id)) and found.status.ready, "the server to be ready")


@pytest.mark.usefixtures("running_nodes")
def test_every_pod_is_asked_what_it_has_answered(
    sqlite_url: str, workloads: KubernetesWorkloads, core: k8s.CoreV1Api, objects: Objects
) -> None:
    server = served(sqlite_url, replicas=2, statistics_path="/index.html")
    workloads.launch(server, 1)
    assert workloads.statistics_endpoints(server.id) == {}
    until(lambda: len(workloads.statistics_endpoints(server.id)) == 2, "both pods to answer")
    addresses = {pod.status.pod_ip for pod in core.list_namespaced_pod(objects.namespace).items}
    assert set(workloads.statistics_endpoints(server.id).values()) == {
        f"http://{ip}:8080/index.html" for ip in addresses
    }


@pytest.mark.usefixtures("running_nodes")
def test_a_server_that_ends_again_and_again_has_failed(sqlite_url: str, workloads: KubernetesWorkloads) -> None:
    server = served(sqlite_url, "echo no weights; exit 3")
    workloads.launch(server, 1)
    failure = until(lambda: _failure(workloads, server), "the failure")
    assert failure.failure_class is FailureClass.APPLICATION
    assert "3" in failure.message


@pytest.mark.usefixtures("running_nodes")
def test_a_secret_that_is_not_there_is_told_in_the_words_of_the_events(
    sqlite_url: str, workloads: KubernetesWorkloads
) -> None:
    token = {"name": "token", "secret": {"secretName": "hugging-face"}}
    mount = {"name": "token", "mountPath": "/token"}
    server = served(sqlite_url, pod={"volumes": [token], "containers": [{"name": "main", "volumeMounts": [mount]}]})
    workloads.launch(server, 1)
    failure = until(lambda: _failure(workloads, server), "the failure")
    assert (failure.failure_class, failure.kind) == (FailureClass.CONFIG, "volume")
    assert 'secret "hugging-face" not found' in failure.message


@pytest.mark.usefixtures("running_nodes")
def test_a_server_for_which_no_node_has_a_gpu_waits_and_says_so(
    sqlite_url: str, workloads: KubernetesWorkloads
) -> None:
    server = served(sqlite_url, gpus=64)
    workloads.launch(server, 1)
    status = until(lambda: (found := workloads.find(server.id)) and found.status.failure and found.status, "why")
    assert (status.ended, status.failure.failure_class) == (False, FailureClass.UNSCHEDULABLE)
    assert "Insufficient nvidia.com/gpu" in status.message


@pytest.mark.usefixtures("running_nodes")
def test_pods_that_are_let_go_stay_for_inspection_until_their_time(
    server: Revision, workloads: KubernetesWorkloads, objects: Objects, core: k8s.CoreV1Api, now: Now
) -> None:
    workloads.launch(server, 1)
    until(lambda: (found := workloads.find(server.id)) and found.status.ready, "the server to be ready")
    found = workloads.evidence(server.id)
    [log] = [text for file, text in found.items() if file.endswith(".main.log")]
    assert log == "serving\n"
    assert "deployment.json" in found and any(file.endswith(".events.json") for file in found)
    [pod] = core.list_namespaced_pod(objects.namespace).items
    workloads.orphan(server.id)
    workloads.orphan(server.id)
    assert workloads.find(server.id) is None

    def orphan() -> bool:
        return core.read_namespaced_pod(pod.metadata.name, objects.namespace).metadata.owner_references is None

    until(orphan, "nobody to own the pod")
    [kept] = core.list_namespaced_pod(objects.namespace).items
    assert (kept.metadata.uid, kept.status.phase) == (pod.metadata.uid, "Running")
    assert SERVES not in kept.metadata.labels
    workloads.expire()
    workloads.stop(server.id, 1)
    assert core.read_namespaced_pod(pod.metadata.name, objects.namespace).metadata.deletion_timestamp is None
    now.time += timedelta(seconds=61)
    workloads.expire()
    until(lambda: core.list_namespaced_pod(objects.namespace).items == [], "the pod's end")
