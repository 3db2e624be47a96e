"""Against a Kubernetes API in memory; ``tests/cluster`` asks a real one."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import kmock
import pytest
import pytest_asyncio
from kubernetes import client as k8s
from typer.testing import CliRunner

from bulkhead.cli import app
from bulkhead.runtimes.kubernetes.access import Access, client
from bulkhead.runtimes.kubernetes.doctor import NEEDS, CheckResult, DoctorFinding, diagnose

URL = "/api/v1/namespaces/ml"
VERSION = {
    "major": "1",
    "minor": "36+",
    "gitVersion": "v1.36.2",
    **dict.fromkeys(("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform"), "x"),
}
GPU_NODE = {
    "metadata": {"name": "gpu-1", "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}},
    "status": {"allocatable": {"cpu": "64", "nvidia.com/gpu": "8", "nvidia.com/mig-1g.10gb": "0"}},
}


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[kmock.RawHandler]:
    """Answers what it was told to and keeps nothing: reviews are no objects."""
    async with kmock.RawHandler() as handler, kmock.Server(handler):
        yield handler


@pytest.fixture
def api(kubeconfig: str) -> k8s.ApiClient:
    return client(Access(config_file=kubeconfig), {})


@pytest.fixture
def healthy(cluster: kmock.RawHandler) -> kmock.RawHandler:
    cluster["get /version/"] << VERSION
    cluster[f"get {URL}"] << {
        "metadata": {"name": "ml", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    }
    cluster["post /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"] << {"spec": {}, "status": {"allowed": True}}
    cluster[f"post {URL}/pods"] << {"metadata": {"name": "x"}}
    cluster["get /api/v1/nodes"] << {"items": [GPU_NODE, GPU_NODE]}
    versions = [{"groupVersion": "resource.k8s.io/v1", "version": "v1"}]
    cluster["get /apis/"] << {"groups": [{"name": "resource.k8s.io", "versions": versions}]}
    return cluster


async def _poll(api: k8s.ApiClient) -> dict[str, DoctorFinding]:
    return {one.check: one for one in await asyncio.to_thread(lambda: list(diagnose(api, "ml")))}


async def test_a_healthy_cluster(healthy: kmock.RawHandler, api: k8s.ApiClient) -> None:
    found = await _poll(api)
    assert found["version"].detail.startswith("v1.36.2 at http")
    assert found["namespace"].detail == "ml: enforces the restricted Pod Security level"
    assert found["GPUs"].detail == "16 x nvidia.com/gpu NVIDIA-H100-80GB-HBM3"
    absent = {name for name, one in found.items() if one.verdict is not CheckResult.OK}
    assert {found[name].verdict for name in absent} == {CheckResult.OPTIONAL} and "resource.k8s.io/v1" not in absent
    assert sum(request.method.value == "POST" for request in healthy) == 1 + sum(len(need.verbs) for need in NEEDS)


async def test_the_pod_of_the_dry_run_is_dry_and_hardened(healthy: kmock.RawHandler, api: k8s.ApiClient) -> None:
    await _poll(api)
    (sent,) = [request for request in healthy if request.url.path == f"{URL}/pods"]
    assert sent.url.query["dryRun"] == "All"
    assert sent.data["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("path", "status", "body", "check", "verdict", "words"),
    [
        ("get /version/", 401, {"message": "Unauthorized"}, "connection", CheckResult.MISSING, "check the credentials"),
        ("get /version/", 200, {**VERSION, "minor": "27"}, "version", CheckResult.UNKNOWN, "from 1.32 on"),
        (f"get {URL}", 404, {"message": "not found"}, "namespace", CheckResult.MISSING, "kubectl create namespace ml"),
        (f"get {URL}", 403, {"message": "forbidden"}, "namespace", CheckResult.UNKNOWN, "may not be read"),
        (f"get {URL}", 500, {"message": "etcd"}, "namespace", CheckResult.UNKNOWN, "500"),
        ("get /api/v1/nodes", 200, {"items": []}, "GPUs", CheckResult.MISSING, "device plugin"),
        ("get /api/v1/nodes", 403, {"message": "forbidden"}, "GPUs", CheckResult.UNKNOWN, "403"),
        (
            f"post {URL}/pods",
            403,
            {"message": "exceeded quota: gpus, requested: requests.nvidia.com/gpu=1"},
            "admission",
            CheckResult.MISSING,
            "exceeded quota",
        ),
    ],
)
async def test_what_is_wrong_is_said(
    cluster: kmock.RawHandler,
    api: k8s.ApiClient,
    request: pytest.FixtureRequest,
    path: str,
    status: int,
    body: dict[str, Any],
    check: str,
    verdict: CheckResult,
    words: str,
) -> None:
    cluster[path] << status << body  # the first rule that fits counts
    request.getfixturevalue("healthy")
    found = (await _poll(api))[check]
    assert found.verdict is verdict and words in found.detail


async def test_a_verb_that_is_missing_is_named(
    cluster: kmock.RawHandler, api: k8s.ApiClient, request: pytest.FixtureRequest
) -> None:
    reviews = "post /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    cluster[reviews][:1] << {"spec": {}, "status": {"allowed": False}}
    request.getfixturevalue("healthy")
    found = await _poll(api)
    assert found["access to pods"].verdict is CheckResult.MISSING
    assert "the verbs create; apply the Role" in found["access to pods"].detail


async def test_a_cluster_that_does_not_answer_is_one_line(api: k8s.ApiClient) -> None:
    api.configuration.host = "http://127.0.0.1:1"
    found = await _poll(api)
    assert list(found) == ["connection"] and "does not answer" in found["connection"].detail


async def test_the_command_says_it_as_a_table_and_as_json_and_by_its_exit_code(
    healthy: kmock.RawHandler, kubeconfig: str
) -> None:
    arguments = ["doctor", "--kubeconfig", kubeconfig, "--namespace", "ml"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 0 and "16 x nvidia.com/gpu" in result.output
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--json"])
    assert json.loads(result.output)[0]["check"] == "version"
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments[:3], "--namespace", "other"])
    assert result.exit_code == 1
