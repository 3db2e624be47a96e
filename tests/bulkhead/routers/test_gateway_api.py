"""HTTPRoutes as values: what is written is read back, what others wrote is recognised, what lacks is said."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.errors import InvalidInputError
from bulkhead.routers.base import FOREIGN, Mirror, Pin, Split
from bulkhead.routers.gateway_api import parse, route, unconfirmed
from bulkhead.settings import ClusterService, GatewayRef, PrometheusSource

SETTINGS = ClusterService(
    namespace="serving",
    gateway=GatewayRef(name="public", namespace="infra", section="https"),
    hostnames=("digits.test",),
    path="/v1",
    prometheus=PrometheusSource(url="http://prometheus", queries="istio"),
)
NAMES = st.sampled_from(["digits-1", "digits-2", "digits-3"])


@st.composite
def splits(draw: st.DrawFn) -> Split:
    endpoints = draw(st.dictionaries(NAMES, st.integers(1, 65535), min_size=1))
    first, *rest = sorted(endpoints)
    share = draw(st.integers(0, 100)) if rest else 100
    weights = draw(st.sampled_from([{}, {first: share, **({rest[0]: 100 - share} if rest else {})}]))
    headers = st.dictionaries(st.sampled_from(["x-tenant", "x-preview"]), st.text("ab", min_size=1), min_size=1)
    pin = draw(st.none() | st.builds(Pin, st.just(first), headers))
    mirror = draw(st.none() | st.builds(Mirror, st.just(first), st.integers(1, 65535), st.integers(1, 100)))
    return Split(endpoints, weights, pin, mirror)


@given(splits())
def test_what_is_written_is_read_back(split: Split) -> None:
    found = parse(route("digits", split, SETTINGS), SETTINGS.path)
    assert found.routes_as(split)
    assert found.endpoints == split.endpoints


def test_a_route_hangs_on_its_gateway_and_names_its_backends() -> None:
    spec = route("digits", Split({"old": 8080, "new": 8081}, {"old": 90, "new": 10}), SETTINGS)["spec"]
    assert spec["parentRefs"] == [{"name": "public", "namespace": "infra", "sectionName": "https"}]
    assert spec["hostnames"] == ["digits.test"]
    [rule] = spec["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    assert [(ref["name"], ref["port"], ref["weight"]) for ref in rule["backendRefs"]] == [
        ("serve-new", 8081, 10),
        ("serve-old", 8080, 90),
    ]


def _edited(change: Any) -> dict[str, Any]:
    found = copy.deepcopy(route("digits", Split({"old": 1, "new": 2}, {"old": 90, "new": 10}), SETTINGS))
    change(found["spec"]["rules"])
    return found


def test_other_weights_of_somebody_else_are_read_as_they_are() -> None:
    def swap(rules: Any) -> None:
        rules[0]["backendRefs"][0]["weight"], rules[0]["backendRefs"][1]["weight"] = 90, 10

    assert parse(_edited(swap), SETTINGS.path).weights == {"new": 90, "old": 10}


@pytest.mark.parametrize(
    "change",
    [
        lambda rules: rules.append({"matches": [{"path": {"type": "Exact", "value": "/"}}]}),
        lambda rules: rules.clear(),
        lambda rules: rules[0].update(timeouts={"request": "1s"}),
        lambda rules: rules[0]["backendRefs"][0].pop("weight"),
        lambda rules: rules[0].update(filters=[{"type": "RequestRedirect"}]),
    ],
)
def test_rules_of_another_kind_are_somebody_elses(change: Any) -> None:
    assert parse(_edited(change), SETTINGS.path).weights == {FOREIGN: 100}


def test_weights_that_are_no_split_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="sum to 100"):
        route("digits", Split({"old": 1}, {"old": 90}), SETTINGS)


def _confirmed(**change: Any) -> dict[str, Any]:
    conditions = [
        {"type": kind, "status": "True", "observedGeneration": 4, "reason": kind, "message": ""}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    conditions[0].update(change)
    ref = {"name": "public", "namespace": "infra", "sectionName": "https"}
    other = {"parentRef": {**ref, "sectionName": "http"}, "conditions": []}
    parents = [other, {"parentRef": ref, "controllerName": "test/one", "conditions": conditions}]
    return {"metadata": {"namespace": "serving", "generation": 4}, "status": {"parents": parents}}


def test_a_route_that_its_controller_took_up_is_confirmed() -> None:
    assert unconfirmed(_confirmed(), SETTINGS) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observedGeneration": 3}, "Accepted is not said yet of generation 4"),
        ({"status": "False", "reason": "NoMatchingParent"}, "Accepted is False: NoMatchingParent"),
        ({"type": "Programmed"}, "Accepted is not said yet"),
    ],
)
def test_one_that_it_did_not_is_not_and_says_why(change: dict[str, Any], message: str) -> None:
    missing = unconfirmed(_confirmed(**change), SETTINGS)
    assert missing is not None and missing.startswith(message)


@pytest.mark.parametrize(
    ("status", "message"),
    [("True", "PartiallyInvalid is True: UnsupportedValue: Dropped Rule 0: header match"), ("False", None)],
)
def test_one_of_which_a_part_was_dropped_is_not(status: str, message: str | None) -> None:
    found = _confirmed()
    conditions = found["status"]["parents"][1]["conditions"]
    dropped = {"type": "PartiallyInvalid", "status": status, "observedGeneration": 4, "reason": "UnsupportedValue"}
    conditions.append({**dropped, "message": "Dropped Rule 0: header match"})
    assert unconfirmed(found, SETTINGS) == message


def test_a_controller_that_does_not_say_which_generation_it_means_confirms_nothing() -> None:
    found = _confirmed()
    del found["status"]["parents"][1]["conditions"][0]["observedGeneration"]
    assert "says no observedGeneration" in str(unconfirmed(found, SETTINGS))


def test_without_a_controller_nothing_is_confirmed() -> None:
    found = {"metadata": {"namespace": "serving", "generation": 1}}
    assert unconfirmed(found, SETTINGS) == "no controller has said anything of Gateway public"
