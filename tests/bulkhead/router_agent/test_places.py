"""Which pods an Envoy asks, by what EndpointSlices say."""

from typing import Any

import pytest

from bulkhead.router_agent.places import places
from bulkhead.routers.base import Mirror, Split

PORTS = [{"port": 9000}]
READY = {"ready": True, "serving": True, "terminating": False}
ENDING = {"ready": False, "serving": True, "terminating": True}
STARTING = {"ready": False, "serving": False, "terminating": False}  # or out of the API server's sight
ENDED = {"ready": False, "serving": False, "terminating": True}


def _slice(service: str, *endpoints: dict[str, Any], ports: Any = PORTS) -> dict[str, Any]:
    metadata = {"name": f"{service}-x", "labels": {"kubernetes.io/service-name": service}}
    return {"metadata": metadata, "endpoints": list(endpoints), "ports": ports}


def _endpoint(address: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address, "10.9.9.9"], "conditions": conditions}


@pytest.mark.parametrize(
    ("endpoints", "asked"),
    [
        ([_endpoint("10.0.0.2", **READY), _endpoint("10.0.0.1", **READY)], ["10.0.0.1", "10.0.0.2"]),
        ([_endpoint("10.0.0.1", **READY), _endpoint("10.0.0.2", **ENDING)], ["10.0.0.1"]),
        ([_endpoint("10.0.0.1", **STARTING), _endpoint("10.0.0.2", **ENDING)], ["10.0.0.1", "10.0.0.2"]),
        ([_endpoint("10.0.0.1", **STARTING), _endpoint("10.0.0.2", **STARTING)], ["10.0.0.1", "10.0.0.2"]),
        ([_endpoint("10.0.0.1", **ENDED), _endpoint("10.0.0.2", **STARTING)], ["10.0.0.2"]),
        ([_endpoint("10.0.0.1", **ENDED)], []),
        ([_endpoint("10.0.0.1")], ["10.0.0.1"]),  # unknown is to be taken for ready
        ([], []),
    ],
)
def test_those_that_are_ready_are_asked_and_where_none_is_all_that_may_answer(
    endpoints: list[dict[str, Any]], asked: list[str]
) -> None:
    slices = [_slice("serve-new", *endpoints), _slice("serve-other", _endpoint("10.1.1.1"))]
    assert places(Split({"new": 8080}), slices) == {"new": [(address, 9000) for address in asked]}


def test_several_slices_are_one_service_and_a_pod_is_asked_once() -> None:
    first, second = _endpoint("10.0.0.1"), _endpoint("10.0.0.2")
    slices = [_slice("serve-new", first), _slice("serve-new", first, second)]
    assert places(Split({"new": 8080}), slices) == {"new": [("10.0.0.1", 9000), ("10.0.0.2", 9000)]}


@pytest.mark.parametrize("ports", [None, [], [{"name": "http"}]])
def test_where_a_slice_names_no_port_it_is_the_revisions_own(ports: Any) -> None:
    slices = [_slice("serve-new", _endpoint("10.0.0.1"), ports=ports)]
    assert places(Split({"new": 8080}), slices) == {"new": [("10.0.0.1", 8080)]}


def test_copies_go_to_the_comparer_and_a_service_that_is_not_there_has_nobody() -> None:
    split = Split({"new": 8080}, mirror=Mirror("new", 8081, 10))
    comparer = _slice("compare-new", _endpoint("10.0.0.3"))
    assert places(split, [comparer]) == {"new": [], "mirror-new": [("10.0.0.3", 9000)]}
