"""HTTPRoutes on a real API server. The test plays the Gateway controller: it says of each route that it is in force."""

import pytest
from kubernetes import client as k8s

from bulkhead.errors import FencedError, RefusedError, UnavailableError
from bulkhead.routers.base import FOREIGN, Fence, Mirror, Pin, Split
from bulkhead.routers.gateway_api import GatewayRouter
from bulkhead.runtimes.kubernetes.objects import HTTP_ROUTE, Objects
from tests.fixtures.gateway import gateway_settings

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("gateway_api")]

TWO = Split({"old": 8080, "new": 8080}, {"old": 90, "new": 10})


@pytest.mark.usefixtures("gateway_controller")
def test_every_kind_of_split_is_admitted_and_confirmed(gateway_router: GatewayRouter) -> None:
    assert gateway_router.read("digits") == (Fence(0, 0), Split())
    steps = [
        Split({"old": 8080}, {"old": 100}),
        TWO,
        Split(TWO.endpoints, {"old": 100}, Pin("new", {"x-tenant": "acme"})),
        Split(TWO.endpoints, {"old": 100}, None, Mirror("new", 8080, 30)),
        Split({"old": 8080}),
    ]
    for sequence, split in enumerate(steps, 1):
        gateway_router.apply("digits", split, Fence(1, sequence))
        fence, found = gateway_router.read("digits")
        assert fence == Fence(1, sequence)
        assert found.routes_as(split) and found.endpoints == split.endpoints


@pytest.mark.usefixtures("gateway_controller")
def test_a_zombie_is_refused(gateway_router: GatewayRouter) -> None:
    gateway_router.apply("digits", TWO, Fence(3, 2))
    for older in (Fence(2, 9), Fence(3, 1)):
        with pytest.raises(FencedError):
            gateway_router.apply("digits", Split(TWO.endpoints, {"new": 100}), older)
    assert gateway_router.read("digits")[1].weights == TWO.weights


@pytest.mark.usefixtures("gateway_controller")
def test_somebody_elses_edit_is_seen_named_and_written_over(gateway_router: GatewayRouter, objects: Objects) -> None:
    gateway_router.apply("digits", TWO, Fence(1, 1))
    custom = k8s.CustomObjectsApi(objects.api)
    kind = ("gateway.networking.k8s.io", "v1", objects.namespace, "httproutes", "digits")
    rule = {"backendRefs": [{"name": "serve-other", "port": 80}]}
    custom.patch_namespaced_custom_object(*kind, {"spec": {"rules": [rule]}}, field_manager="kubectl-edit")
    assert gateway_router.read("digits")[1].weights == {FOREIGN: 100}
    assert gateway_router.editor("digits") == "kubectl-edit"
    gateway_router.apply("digits", TWO, Fence(1, 1))
    assert gateway_router.read("digits")[1].routes_as(TWO)
    assert gateway_router.editor("digits") == "an unknown writer"


def test_what_no_controller_takes_up_is_written_and_told(objects: Objects) -> None:
    gateway_router = GatewayRouter(objects, gateway_settings(objects.namespace, confirm_s=0.3))
    with pytest.raises(UnavailableError, match="no controller has said anything of Gateway public"):
        gateway_router.apply("digits", TWO, Fence(1, 1))
    assert gateway_router.read("digits")[1].routes_as(TWO)


def test_what_the_cluster_refuses_is_told(objects: Objects) -> None:
    gateway_router = GatewayRouter(objects, gateway_settings(objects.namespace, hostnames=("not a host",)))
    with pytest.raises(RefusedError, match="hostnames"):
        gateway_router.apply("digits", TWO, Fence(1, 1))
    assert objects.read(HTTP_ROUTE, "digits") is None
