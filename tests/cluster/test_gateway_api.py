"""HTTPRoutes on a real API server. The test plays the Gateway controller: it says of each route that it is in force."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.errors import FencedError, RefusedError, UnavailableError
from bulkhead.routers.base import Fence, Mirror, Pin, Split
from bulkhead.routers.gateway_api import FOREIGN, GatewayRouter
from bulkhead.runtimes.kubernetes.objects import HTTP_ROUTE, Objects
from bulkhead.settings import ClusterService, GatewayRef, PrometheusSource

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("gateway_api")]

TWO = Split({"old": 8080, "new": 8080}, {"old": 90, "new": 10})


def settings(namespace: str, **more: Any) -> ClusterService:
    prometheus = PrometheusSource(url="http://prometheus", queries="istio")
    return ClusterService(namespace=namespace, gateway=GatewayRef(name="public"), prometheus=prometheus, **more)


@pytest.fixture
def gateway_api(api: k8s.ApiClient) -> None:
    kinds = k8s.ApiextensionsV1Api(api).list_custom_resource_definition().items
    if not any(kind.metadata.name == "httproutes.gateway.networking.k8s.io" for kind in kinds):
        pytest.skip("NOT TESTED WITH THE GATEWAY API: the cluster of KUBECONFIG does not serve HTTPRoutes")


@pytest.fixture
def objects(api: k8s.ApiClient, namespace: str) -> Objects:
    return Objects(api, namespace)


def _say(api: k8s.ApiClient, namespace: str, stop: threading.Event) -> None:
    """Confirm every generation of every route, as a controller does."""
    custom = k8s.CustomObjectsApi(api)
    kind = ("gateway.networking.k8s.io", "v1", namespace, "httproutes")
    said: dict[str, int] = {}
    while not stop.wait(0.05):
        for found in custom.list_namespaced_custom_object(*kind)["items"]:
            name, generation = found["metadata"]["name"], found["metadata"]["generation"]
            if said.get(name) == generation:
                continue
            condition = {
                "status": "True",
                "observedGeneration": generation,
                "reason": "Accepted",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            conditions = [{**condition, "type": "Accepted"}, {**condition, "type": "ResolvedRefs"}]
            parent = {"parentRef": {"name": "public"}, "controllerName": "bulkhead.dev/test", "conditions": conditions}
            custom.patch_namespaced_custom_object_status(*kind, name, {"status": {"parents": [parent]}})
            said[name] = generation


@pytest.fixture
def controller(api: k8s.ApiClient, namespace: str) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=_say, args=(api, namespace, stop))
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def router(objects: Objects) -> GatewayRouter:
    return GatewayRouter(objects, settings(objects.namespace))


@pytest.mark.usefixtures("controller")
def test_every_kind_of_split_is_admitted_and_confirmed(router: GatewayRouter) -> None:
    assert router.read("digits") == (Fence(0, 0), Split())
    steps = [
        Split({"old": 8080}, {"old": 100}),
        TWO,
        Split(TWO.endpoints, {"old": 100}, Pin("new", {"x-tenant": "acme"})),
        Split(TWO.endpoints, {"old": 100}, None, Mirror("new", 8080, 30)),
        Split({"old": 8080}),
    ]
    for sequence, split in enumerate(steps, 1):
        router.apply("digits", split, Fence(1, sequence))
        fence, found = router.read("digits")
        assert fence == Fence(1, sequence)
        assert found.routes_as(split) and found.endpoints == split.endpoints


@pytest.mark.usefixtures("controller")
def test_a_zombie_is_refused(router: GatewayRouter) -> None:
    router.apply("digits", TWO, Fence(3, 2))
    for older in (Fence(2, 9), Fence(3, 1)):
        with pytest.raises(FencedError):
            router.apply("digits", Split(TWO.endpoints, {"new": 100}), older)
    assert router.read("digits")[1].weights == TWO.weights


@pytest.mark.usefixtures("controller")
def test_somebody_elses_edit_is_seen_named_and_written_over(router: GatewayRouter, objects: Objects) -> None:
    router.apply("digits", TWO, Fence(1, 1))
    custom = k8s.CustomObjectsApi(objects.api)
    kind = ("gateway.networking.k8s.io", "v1", objects.namespace, "httproutes", "digits")
    rule = {"backendRefs": [{"name": "serve-other", "port": 80}]}
    custom.patch_namespaced_custom_object(*kind, {"spec": {"rules": [rule]}}, field_manager="kubectl-edit")
    assert router.read("digits")[1].weights == {FOREIGN: 100}
    assert router.editor("digits") == "kubectl-edit"
    router.apply("digits", TWO, Fence(1, 1))
    assert router.read("digits")[1].routes_as(TWO)
    assert router.editor("digits") == "somebody"


def test_what_no_controller_takes_up_is_written_and_told(objects: Objects) -> None:
    router = GatewayRouter(objects, settings(objects.namespace, confirm_s=0.3))
    with pytest.raises(UnavailableError, match="no controller has said anything of Gateway public"):
        router.apply("digits", TWO, Fence(1, 1))
    assert router.read("digits")[1].routes_as(TWO)


def test_what_the_cluster_refuses_is_told(objects: Objects) -> None:
    router = GatewayRouter(objects, settings(objects.namespace, hostnames=("not a host",)))
    with pytest.raises(RefusedError, match="hostnames"):
        router.apply("digits", TWO, Fence(1, 1))
    assert objects.read(HTTP_ROUTE, "digits") is None
