"""Who keeps the pods: what is written for each kind, and how its status is read."""

from typing import Any

import pytest

from bulkhead.ledger.tables import Revision
from bulkhead.pods.status import PodPhase
from bulkhead.runtimes.kubernetes.objects import DEPLOYMENT
from bulkhead.workloads.manifests import REVISION, server
from bulkhead.workloads.serving import parse_serve
from bulkhead.workloads.workload_kinds import (
    INFERENCE_SERVICE,
    LEADER_WORKER_SET,
    SERVES,
    answers,
    labels,
    name_of,
    status,
)


def _made(**serve: Any) -> dict[str, Any]:
    revision = Revision(id="digits-1", service="digits", model_uri="models:/m", image="registry/serve:1", serve=serve)
    found = server("serving", revision, parse_serve(serve), {"MLFLOW_TRACKING_URI": "http://mlflow"}, {})
    return {kind.kind: document for kind, document in found}


def _deployment(replicas: int = 2, observed: int = 3, **status: Any) -> dict[str, Any]:
    whole = {"observedGeneration": observed, "replicas": replicas, **status}
    return {"metadata": {"generation": 3}, "spec": {"replicas": replicas}, "status": whole}


def test_it_is_ready_once_all_pods_of_the_newest_spec_are() -> None:
    assert status(DEPLOYMENT, _deployment(availableReplicas=2, updatedReplicas=2)).ready
    assert not status(DEPLOYMENT, _deployment(availableReplicas=1, updatedReplicas=2)).ready
    assert not status(DEPLOYMENT, _deployment(availableReplicas=2, updatedReplicas=1)).ready
    assert not status(DEPLOYMENT, _deployment(availableReplicas=2, updatedReplicas=2, observed=2)).ready


def test_scaled_to_nothing_is_not_ready() -> None:
    assert not status(DEPLOYMENT, _deployment(replicas=0, availableReplicas=0, updatedReplicas=0)).ready


def test_what_lacks_is_in_the_clusters_own_words() -> None:
    lacking = {"type": "Available", "status": "False", "message": "does not have minimum availability"}
    found = status(DEPLOYMENT, _deployment(conditions=[lacking]))
    assert (found.phase, found.message) == (PodPhase.RUNNING, "does not have minimum availability")


GROUP: dict[str, Any] = {
    "hosts": 4,
    "replicas": 2,
    "gpus": 8,
    "command": ["vllm", "serve", "{model_uri}", "--port", "{port}"],
    "worker_command": ["ray", "start", "--address=$(LWS_LEADER_ADDRESS)", "--block"],
}


def test_a_replica_of_several_hosts_is_a_group_whose_leader_answers() -> None:
    made = _made(**GROUP)
    assert set(made) == {"LeaderWorkerSet", "Service", "PodDisruptionBudget"}
    spec = made["LeaderWorkerSet"]["spec"]
    assert spec["replicas"] == 2
    template = spec["leaderWorkerTemplate"]
    assert (template["size"], template["restartPolicy"]) == (4, "RecreateGroupOnPodRestart")
    leader, worker = template["leaderTemplate"], template["workerTemplate"]
    assert leader["metadata"]["labels"][SERVES] == "digits-1"
    assert SERVES not in worker["metadata"]["labels"]
    assert leader["metadata"]["labels"][REVISION] == worker["metadata"]["labels"][REVISION] == "digits-1"


def test_a_groups_workers_ask_for_devices_alike_and_are_asked_nothing() -> None:
    template = _made(**GROUP)["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]
    [leader], [worker] = (template[which]["spec"]["containers"] for which in ("leaderTemplate", "workerTemplate"))
    assert leader["command"] == ["vllm", "serve", "models:/m", "--port", "8080"]
    assert worker["command"] == ["ray", "start", "--address=$(LWS_LEADER_ADDRESS)", "--block"]
    assert leader["resources"] == worker["resources"]
    assert leader["readinessProbe"] and "readinessProbe" not in worker
    assert "startupProbe" not in worker and "ports" not in worker
    assert leader["lifecycle"] == worker["lifecycle"]  # a worker that ends first ends its leader's requests


def test_workers_run_the_leaders_command_where_none_is_given() -> None:
    template = _made(**{**GROUP, "worker_command": []})["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]
    [worker] = template["workerTemplate"]["spec"]["containers"]
    assert worker["command"] == ["vllm", "serve", "models:/m", "--port", "8080"]


def test_kserve_runs_the_same_container_under_its_own_name() -> None:
    plain, made = _made(gpus=1), _made(gpus=1, kserve={"timeout": 30})
    service = made["InferenceService"]
    predictor = service["spec"]["predictor"]
    [ours] = plain["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert predictor["containers"] == [{**ours, "name": "kserve-container"}]
    assert (predictor["minReplicas"], predictor["maxReplicas"], predictor["timeout"]) == (1, 1, 30)
    assert predictor["labels"][SERVES] == predictor["labels"][REVISION] == "digits-1"
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    assert service["metadata"]["labels"]["networking.kserve.io/visibility"] == "cluster-local"
    assert made["Service"] == plain["Service"]
    notes = {key: value for key, value in service["metadata"]["annotations"].items() if key.startswith("bulkhead")}
    assert notes == plain["Deployment"]["metadata"]["annotations"]


def test_kserve_serves_a_format_with_the_devices_and_variables_that_were_asked_for() -> None:
    model = {"modelFormat": {"name": "mlflow"}, "storageUri": "s3://models/{model_uri}"}
    predictor = _made(gpus=1, env={"A": "1"}, kserve={"model": model})["InferenceService"]["spec"]["predictor"]
    assert "containers" not in predictor
    assert predictor["model"]["storageUri"] == "s3://models/models:/m"
    assert predictor["model"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"name": "A", "value": "1"} in predictor["model"]["env"]
    own = {"modelFormat": {"name": "mlflow"}, "resources": {"limits": {"cpu": "1"}}}
    assert _made(gpus=1, kserve={"model": own})["InferenceService"]["spec"]["predictor"]["model"]["resources"] == {
        "limits": {"cpu": "1"}
    }


def test_sidecars_stay_beside_a_model_that_kserve_serves() -> None:
    asked: dict[str, Any] = {"pod": {"containers": [{"name": "proxy", "image": "proxy:1"}]}}
    predictor = _made(kserve={"model": {"modelFormat": {"name": "mlflow"}}}, **asked)["InferenceService"]["spec"]
    [beside] = predictor["predictor"]["containers"]
    assert beside["name"] == "proxy"


def test_an_autoscaler_of_kserve_gets_its_own_bounds() -> None:
    made = _made(replicas=None, kserve={"minReplicas": 2, "maxReplicas": 9})
    predictor = made["InferenceService"]["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 9)


def test_a_server_of_somebody_elses_is_not_asked_what_its_model_answers() -> None:
    def message(kind: str, **serve: Any) -> str:
        return str(_made(**serve)[kind]["metadata"]["annotations"]["bulkhead.dev/statistics"])

    assert message("InferenceService", kserve={}) == "/statistics"
    assert message("InferenceService", kserve={"model": {"modelFormat": {"name": "mlflow"}}}) == ""
    assert message("LeaderWorkerSet", **GROUP) == ""


@pytest.mark.parametrize("kind", [LEADER_WORKER_SET, INFERENCE_SERVICE])
def test_a_keeper_that_makes_a_service_of_its_own_name_does_not_take_ours(kind: Any) -> None:
    assert name_of(DEPLOYMENT, "serve-digits-1", "digits-1") == "serve-digits-1"
    assert name_of(kind, "serve-digits-1", "digits-1") == "digits-1"
    assert name_of(kind, "compare-digits-1", None) == "compare-digits-1"


def _group(**found: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 2, "name": "digits-1"}, "spec": {"replicas": 2}, "status": found}


def test_groups_are_ready_once_all_of_them_are() -> None:
    assert status(LEADER_WORKER_SET, _group(observedGeneration=2, readyReplicas=2, updatedReplicas=2)).ready
    for lacking in ({"readyReplicas": 1}, {"updatedReplicas": 1}, {"observedGeneration": 1}):
        whole = {"observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 2, **lacking}
        assert not status(LEADER_WORKER_SET, _group(**whole)).ready
    assert status(LEADER_WORKER_SET, _group(readyReplicas=2, updatedReplicas=2)).ready  # older ones say no generation
    assert answers(LEADER_WORKER_SET, _group(readyReplicas=1))
    assert not answers(LEADER_WORKER_SET, _group())
    assert labels(LEADER_WORKER_SET, _group()) == {"leaderworkerset.sigs.k8s.io/name": "digits-1"}


def _inference_service(ready: str, **found: Any) -> dict[str, Any]:
    conditions = [{"type": "PredictorReady", "status": ready, "message": "pods are starting"}]
    spec = {"predictor": {"labels": {SERVES: "digits-1"}}}
    whole = {"observedGeneration": 2, "conditions": conditions, **found}
    return {"metadata": {"generation": 2, "name": "digits-1"}, "spec": spec, "status": whole}


def test_kserves_predictor_says_whether_it_is_ready_whatever_its_ingress_says() -> None:
    assert status(INFERENCE_SERVICE, _inference_service("True")).ready
    assert answers(INFERENCE_SERVICE, _inference_service("True"))
    # KServe copies its Deployment's observedGeneration, which knows nothing of its own.
    assert status(INFERENCE_SERVICE, _inference_service("True", observedGeneration=1)).ready
    unknown = status(INFERENCE_SERVICE, _inference_service("Unknown"))
    assert (unknown.ready, unknown.message) == (False, "pods are starting")
    failed = {"lastFailureInfo": {"message": "no such object in the bucket"}}
    assert (
        status(INFERENCE_SERVICE, _inference_service("False", modelStatus=failed)).message
        == failed["lastFailureInfo"]["message"]
    )
    assert status(INFERENCE_SERVICE, {"metadata": {"generation": 1}, "spec": {}}).phase == PodPhase.PENDING
    assert labels(INFERENCE_SERVICE, _inference_service("True")) == {SERVES: "digits-1"}
