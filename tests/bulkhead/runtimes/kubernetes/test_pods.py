"""What the operator's and the collector's tests do not reach."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import kmock
import pytest
from kubernetes import client as k8s

from bulkhead.pods.exceptions import ClusterUnreachableError, PodConfigError
from bulkhead.runtimes.kubernetes import pods
from bulkhead.runtimes.kubernetes.access import Access, client
from tests.fixtures.kubernetes import PODS, kubeconfig_of, pod


@pytest.fixture
def core(kubeconfig: str) -> k8s.CoreV1Api:
    return k8s.CoreV1Api(client(Access(config_file=kubeconfig), {}))


@pytest.mark.parametrize("status", [404, 409])
async def test_a_pod_that_is_gone_or_another_one_by_now_is_as_good_as_deleted(
    cluster: kmock.KubernetesEmulator, core: k8s.CoreV1Api, status: int
) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a")
    cluster[kmock.action.DELETE] << status << {"message": "so it is"}
    await asyncio.to_thread(pods.delete, core, "a", "default", "uid-1")
    (request,) = cluster
    assert request.data["preconditions"] == {"uid": "uid-1"}


@pytest.mark.parametrize(
    "call",
    [
        lambda core: pods.delete(core, "a", "default"),
        lambda core: pods.end(core, "a", "default", {}, "never"),
        lambda core: pods.managed_names(core, "default"),
        lambda core: pods.find_unfailed(core, "default", {"a": "b"}),
    ],
)
async def test_an_api_server_in_trouble_is_asked_again_and_then_named_whatever_was_asked(
    broken: kmock.RawHandler, tmp_path: Path, call: Callable[[k8s.CoreV1Api], object]
) -> None:
    core = k8s.CoreV1Api(client(Access(config_file=kubeconfig_of(str(broken.url), tmp_path)), {}))
    broken << 503 << {"message": "apiserver is shutting down"}
    with pytest.raises(ClusterUnreachableError, match="shutting down"):
        await asyncio.to_thread(call, core)
    assert len(broken) == 5


async def test_an_api_server_that_is_away_is_named(core: k8s.CoreV1Api) -> None:
    core.api_client.configuration.host = "http://127.0.0.1:1"
    with pytest.raises(ClusterUnreachableError, match=r"127\.0\.0\.1"):
        await asyncio.to_thread(pods.managed_names, core, "default")


async def test_missing_access_is_named_with_its_role(cluster: kmock.KubernetesEmulator, core: k8s.CoreV1Api) -> None:
    said = 'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"'
    cluster["get /api/v1/namespaces/default/pods"] << 403 << {"message": said}
    with pytest.raises(PodConfigError, match=r'verbs: \["list"\]'):
        await asyncio.to_thread(pods.managed_names, core, "default")


async def test_pods_with_the_label_are_named(cluster: kmock.KubernetesEmulator, core: k8s.CoreV1Api) -> None:
    cluster.objects[PODS, "default", "a"] = pod("a")
    assert await asyncio.to_thread(pods.managed_names, core, "default") == {"a": "a"}


@pytest.mark.parametrize(
    ("phase", "keep", "stays"),
    [
        ("Running", "always", False),
        ("Succeeded", "always", True),
        ("Failed", "always", True),
        ("Failed", "failed", True),
        ("Succeeded", "failed", False),
        ("Failed", "never", False),
    ],
)
def test_what_stays(phase: str, keep: str, stays: bool) -> None:
    assert pods.kept(phase, keep) is stays
