"""Servers that a LeaderWorkerSet or KServe keeps, on an API server that has their kinds."""

from typing import Any

import pytest
from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from bulkhead.errors import RefusedError
from bulkhead.ledger.tables import Revision
from bulkhead.pods.serving_names import server_name
from bulkhead.runtimes.kubernetes.objects import SERVICE, Kind, Objects
from bulkhead.workloads.kubernetes import KubernetesWorkloads
from bulkhead.workloads.manifests import REVISION
from bulkhead.workloads.workload_kinds import GROUP, INFERENCE_SERVICE, LEADER_WORKER_SET, SERVES
from tests.fixtures.serving import served
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)

WORKER = "echo working; exec sleep 3600"
GROUPED: dict[str, Any] = {"hosts": 2, "worker_command": ["sh", "-c", WORKER]}


def _serves(api: k8s.ApiClient, kind: Kind) -> bool:
    kinds = k8s.ApiextensionsV1Api(api).list_custom_resource_definition().items
    return any(one.metadata.name == f"{kind.plural}.{kind.api_version.partition('/')[0]}" for one in kinds)


@pytest.fixture(params=[LEADER_WORKER_SET, INFERENCE_SERVICE], ids=lambda kind: kind.kind)
def kind(request: pytest.FixtureRequest, api: k8s.ApiClient) -> Kind:
    kind: Kind = request.param
    if not _serves(api, kind):
        pytest.skip(f"NOT TESTED WITH {kind.kind}: the cluster of KUBECONFIG does not serve it")
    return kind


@pytest.fixture
def server(kind: Kind, sqlite_url: str) -> Revision:
    return served(sqlite_url, **(GROUPED if kind == LEADER_WORKER_SET else {"kserve": {}}))


def test_it_is_written_once_found_again_and_stopped(
    kind: Kind, server: Revision, workloads: KubernetesWorkloads, objects: Objects
) -> None:
    assert workloads.find(server.id) is None
    workloads.launch(server, 1)
    before = objects.read(kind, server.id)
    workloads.launch(server, 1)
    after = objects.read(kind, server.id)
    assert before is not None and after is not None and before["spec"] == after["spec"]
    found = workloads.find(server.id)
    assert found is not None and found.url("/x") == f"http://{server_name(server.id)}.{objects.namespace}.svc:8080/x"
    assert workloads.drift(server, 1) is None
    workloads.stop(server.id, 1)
    workloads.stop(server.id, 1)
    until(lambda: workloads.find(server.id) is None, "its end")
    assert objects.read(SERVICE, server_name(server.id)) is None


def test_what_others_change_is_named(
    kind: Kind, server: Revision, workloads: KubernetesWorkloads, objects: Objects
) -> None:
    workloads.launch(server, 1)
    scaled: dict[str, Any] = {"replicas": 3} if kind == LEADER_WORKER_SET else {"predictor": {"maxReplicas": 3}}
    objects.patch(kind, server.id, {"spec": scaled})
    message = workloads.drift(server, 1)
    assert message is not None and ("spec.replicas" in message or "spec.predictor.maxReplicas" in message)
    workloads.launch(server, 1)
    assert workloads.drift(server, 1) is None


def test_a_comparer_is_not_taken_for_the_server(server: Revision, workloads: KubernetesWorkloads) -> None:
    workloads.launch(server, 1)
    assert workloads.find_comparer(server.id) is None
    workloads.stop_comparer(server.id, 1)
    assert workloads.find(server.id) is not None


@pytest.fixture
def kserve(api: k8s.ApiClient) -> None:
    if not _serves(api, INFERENCE_SERVICE):
        pytest.skip("NOT TESTED WITH InferenceService: the cluster of KUBECONFIG does not serve it")


@pytest.mark.usefixtures("kserve")
def test_a_format_that_kserve_knows_is_taken_by_its_schema(
    sqlite_url: str, workloads: KubernetesWorkloads, objects: Objects
) -> None:
    model = {"modelFormat": {"name": "mlflow"}, "protocolVersion": "v2", "storageUri": "s3://models/{model_uri}"}
    server = served(sqlite_url, command=[], pod={}, gpus=1, kserve={"model": model})
    workloads.launch(server, 1)
    found = objects.read(INFERENCE_SERVICE, server.id)
    assert found is not None
    assert found["spec"]["predictor"]["model"]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.usefixtures("kserve")
def test_what_kserves_schema_refuses_is_told(sqlite_url: str, workloads: KubernetesWorkloads) -> None:
    wrong = served(sqlite_url, command=[], pod={}, kserve={"model": {"modelFormat": "mlflow"}})
    with pytest.raises(RefusedError, match="modelFormat"):
        workloads.launch(wrong, 1)


@pytest.mark.usefixtures("running_nodes")
def test_a_group_serves_by_its_leader_and_is_let_go_whole(
    api: k8s.ApiClient, sqlite_url: str, workloads: KubernetesWorkloads, objects: Objects, core: k8s.CoreV1Api
) -> None:
    if not _serves(api, LEADER_WORKER_SET):
        pytest.skip("NOT TESTED WITH LeaderWorkerSet: the cluster of KUBECONFIG does not serve it")
    server = served(sqlite_url, **GROUPED)
    workloads.launch(server, 1)
    until(lambda: (found := workloads.find(server.id)) and found.status.ready, "the group to be ready")
    assert len(workloads.placement(server.id).pods) == 2

    def pods(label: str) -> list[Any]:
        return list(core.list_namespaced_pod(objects.namespace, label_selector=label).items)

    [leader] = pods(f"{SERVES}={server.id}")
    assert leader.metadata.labels["leaderworkerset.sigs.k8s.io/worker-index"] == "0"
    found = workloads.evidence(server.id)
    assert "leaderworkerset.json" in found
    assert sorted(text for file, text in found.items() if file.endswith(".main.log")) == ["serving\n", "working\n"]
    before = {pod.metadata.uid for pod in pods(f"{REVISION}={server.id}")}
    workloads.orphan(server.id)
    workloads.orphan(server.id)
    until(lambda: workloads.find(server.id) is None, "the group's end")
    until(
        lambda: not any(pod.metadata.owner_references for pod in pods(f"{REVISION}={server.id}") if pod is not leader),
        "nobody to own the pods",
    )
    kept = pods(f"{REVISION}={server.id}")
    assert {pod.metadata.uid for pod in kept} == before and {pod.status.phase for pod in kept} == {"Running"}
    assert pods(f"{SERVES}={server.id}") == []
    assert k8s.AppsV1Api(api).list_namespaced_stateful_set(objects.namespace, label_selector=GROUP).items == []


@pytest.mark.usefixtures("running_nodes", "kserve")
def test_what_kserve_keeps_is_let_go_too(
    api: k8s.ApiClient, sqlite_url: str, workloads: KubernetesWorkloads, objects: Objects, core: k8s.CoreV1Api
) -> None:
    server = served(sqlite_url, kserve={})
    workloads.launch(server, 1)
    _play_kserve(api, objects, server.id)
    until(lambda: (found := workloads.find(server.id)) and found.status.ready, "the predictor to be ready")
    [pod] = core.list_namespaced_pod(objects.namespace).items
    assert "inferenceservice.json" in workloads.evidence(server.id)
    workloads.orphan(server.id)
    workloads.orphan(server.id)

    def alone() -> bool:
        return core.read_namespaced_pod(pod.metadata.name, objects.namespace).metadata.owner_references is None

    until(alone, "nobody to own the pod")
    [kept] = core.list_namespaced_pod(objects.namespace).items
    assert (kept.metadata.uid, kept.status.phase) == (pod.metadata.uid, "Running")
    assert SERVES not in kept.metadata.labels
    assert k8s.AppsV1Api(api).list_namespaced_deployment(objects.namespace).items == []


def _play_kserve(api: k8s.ApiClient, objects: Objects, revision_id: str) -> None:
    """What KServe's controller makes in standard mode, where none runs: labels and names are its own."""
    found = objects.read(INFERENCE_SERVICE, revision_id)
    assert found is not None
    predictor = dict(found["spec"]["predictor"])
    labels = {**predictor.pop("labels"), "app": f"isvc.{revision_id}-predictor"}
    pod = {key: value for key, value in predictor.items() if key not in ("minReplicas", "maxReplicas")}
    owner = {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "name": revision_id,
        "uid": found["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = {"name": f"{revision_id}-predictor", "labels": labels, "ownerReferences": [owner]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": labels["app"]}}, "template": template}
    apps = k8s.AppsV1Api(api)
    try:
        apps.create_namespaced_deployment(objects.namespace, {"metadata": metadata, "spec": spec})
    except ApiException as refused:
        if refused.status != 409:  # a real controller was here first
            raise
        return

    def up() -> bool:
        deployment = apps.read_namespaced_deployment(metadata["name"], objects.namespace)
        return bool(deployment.status.available_replicas)

    until(up, "the predictor's pod")
    generation = found["metadata"]["generation"]
    status = {
        "observedGeneration": generation,
        "conditions": [{"type": "PredictorReady", "status": "True"}],
    }
    group, version = INFERENCE_SERVICE.api_version.split("/")
    k8s.CustomObjectsApi(api).patch_namespaced_custom_object_status(
        group, version, objects.namespace, INFERENCE_SERVICE.plural, revision_id, {"status": status}
    )
