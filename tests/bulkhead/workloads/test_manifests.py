"""The objects of a server in a cluster, as values."""

from typing import Any

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.ledger.tables import Revision
from bulkhead.workloads.manifests import REVISION, comparer, no_network, server
from bulkhead.workloads.serving import parse_serve
from bulkhead.workloads.workload_kinds import SERVES


def _server(**serve: Any) -> dict[str, Any]:
    revision = Revision(id="digits-1", service="digits", model_uri="models:/m", image="registry/serve:1", serve=serve)
    secrets = {"MLFLOW_TRACKING_PASSWORD": ("mlflow", "password")}
    found = server("serving", revision, parse_serve(serve), {"MLFLOW_TRACKING_URI": "http://mlflow"}, secrets)
    return {kind.kind: document for kind, document in found}


def _pod(**serve: Any) -> Any:
    return _server(**serve)["Deployment"]["spec"]["template"]["spec"]


def test_a_server_is_found_by_a_label_that_can_be_taken_away() -> None:
    made = _server()
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels[REVISION] == labels[SERVES] == "digits-1"
    found_by = {SERVES: "digits-1"}
    assert made["Deployment"]["spec"]["selector"]["matchLabels"] == found_by
    assert made["Service"]["spec"]["selector"] == found_by
    assert made["PodDisruptionBudget"]["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": found_by}}


def test_our_own_server_listens_beyond_loopback_and_drains() -> None:
    [main] = _pod(drain_s=7)["containers"]
    assert main["command"][:3] == ["python", "-m", "bulkhead.gpu_tasks.serve"]
    assert main["command"][main["command"].index("--host") + 1] == "0.0.0.0"
    assert main["lifecycle"]["preStop"]["sleep"] == {"seconds": 7}
    assert main["readinessProbe"]["httpGet"] == main["startupProbe"]["httpGet"] == {"path": "/ping", "port": 8080}
    assert main["startupProbe"]["failureThreshold"] == 600


def test_no_secret_is_written_but_its_name() -> None:
    [main] = _pod()["containers"]
    env = {one["name"]: one for one in main["env"]}
    assert env["MLFLOW_TRACKING_URI"]["value"] == "http://mlflow"
    assert env["MLFLOW_TRACKING_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "mlflow", "key": "password"}


def test_it_asks_for_gpus_as_a_pod_of_a_task_does() -> None:
    pod = _pod(gpus=2, gpu={"product": "NVIDIA-H100", "shared_memory": "8Gi"})
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100"}
    assert any(volume.get("emptyDir", {}).get("medium") == "Memory" for volume in pod["volumes"])


def test_its_author_may_lay_part_of_a_pod_over_it() -> None:
    sidecar = {"name": "proxy", "image": "proxy:1"}
    main = {"name": "main", "env": [{"name": "A", "value": "1"}], "resources": {"limits": {"cpu": "1"}}}
    pod = _pod(memory="1Gi", pod={"serviceAccountName": "model", "containers": [main, sidecar]})
    assert pod["serviceAccountName"] == "model"
    ours, theirs = pod["containers"]
    assert ours["resources"]["limits"] == {"memory": "1Gi", "cpu": "1"}
    assert {"A", "MLFLOW_TRACKING_URI"} <= {one["name"] for one in ours["env"]}
    assert theirs["securityContext"]["allowPrivilegeEscalation"] is False  # hardened like every other
    assert pod["restartPolicy"] == "Always"


def test_an_autoscaler_gets_the_number_of_pods() -> None:
    assert _server()["Deployment"]["spec"]["replicas"] == 1
    assert "replicas" not in _server(replicas=None)["Deployment"]["spec"]


def test_only_our_own_server_is_known_to_say_what_the_model_answered() -> None:
    asked: list[dict[str, Any]] = [{"replicas": 2}, {"command": ["vllm"]}, {"command": ["a"], "statistics_path": "/x"}]
    notes = [_server(**serve)["Deployment"]["metadata"]["annotations"] for serve in asked]
    assert [note["bulkhead.dev/statistics"] for note in notes] == ["/statistics", "", "/x"]


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        ({"gpu": {"kind": "H100"}}, r"serve\.gpu = .*: 'kind' is no field of it: give one of"),
        ({"relax": ["root"]}, r"serve\.relax = .*: 'root' is none of .*run_as_root"),
        ({"pod": {"nodeSelektor": {"a": "b"}}}, r"serve\.pod\.nodeSelektor"),
        ({"pod": {"containers": [{"name": "main", "imagePullPolice": "Always"}]}}, r"imagePullPolice"),
        ({"pod": {"hostNetwork": True}}, r"pod\.spec\.host_network = True"),
        ({"pod": {"securityContext": {"runAsUser": 0}}}, r"run_as_root=True"),
    ],
)
def test_what_cannot_be_is_named(serve: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        _server(**serve)


def test_an_image_that_needs_more_says_so_by_name() -> None:
    pod = _pod(relax=["run_as_root", "writable_root"], pod={"securityContext": {"runAsUser": 0}})
    assert pod["securityContext"]["runAsUser"] == 0
    assert "readOnlyRootFilesystem" not in pod["containers"][0]["securityContext"]


def test_whoever_compares_is_no_pod_of_the_revision() -> None:
    objects = comparer("serving", "digits", "digits-2", ["a:1", "b:2"], "registry/tasks:1")
    made = {kind.kind: document for kind, document in objects}
    template = made["Deployment"]["spec"]["template"]
    assert template["metadata"]["labels"][SERVES] == "compare-digits-2"
    (container,) = template["spec"]["containers"]
    assert {"--candidate=a:1", "--stable=b:2"} <= set(container["command"])
    assert container["image"] == "registry/tasks:1"


def test_a_cut_off_revision_is_allowed_nothing() -> None:
    spec = no_network("digits-1")["spec"]
    assert spec == {"podSelector": {"matchLabels": {REVISION: "digits-1"}}, "policyTypes": ["Ingress", "Egress"]}
