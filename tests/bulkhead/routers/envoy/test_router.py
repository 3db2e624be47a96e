"""A real Envoy, real requests."""

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from bulkhead.errors import FencedError, InvalidInputError, NotFoundError, UnavailableError
from bulkhead.routers.base import Fence, Mirror, Pin, Split
from bulkhead.routers.envoy.admin import get as admin_get
from tests.fixtures.envoy import RunningEnvoy
from tests.servers import Backend, count, get, post
from tests.waiting import until


def _split(backends: list[Backend], new: int) -> Split:
    old_backend, new_backend = backends
    weights = {name: share for name, share in (("old", 100 - new), ("new", new)) if share}
    return Split({"old": old_backend.port, "new": new_backend.port}, weights)


def test_before_anything_is_released_it_answers_503_and_says_why(envoy: RunningEnvoy) -> None:
    assert get(envoy.ports.port) == (503, "service digits has no revision that serves", None)


@pytest.mark.parametrize("share", [0, 10, 50, 100])
def test_it_splits_as_told_once_apply_has_returned(envoy: RunningEnvoy, backends: list[Backend], share: int) -> None:
    envoy.router.apply("digits", _split(backends, share), Fence(1, 1))
    seen = count(envoy.ports.port, 400)
    assert abs(seen["new"] / 4 - share) < 12  # four standard deviations at a half are 10


def test_the_answer_names_its_revision(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    envoy.router.apply("digits", _split(backends, 100), Fence(1, 1))
    assert get(envoy.ports.port) == (200, "new", "new")


def test_no_request_is_lost_while_the_weights_change(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    envoy.router.apply("digits", _split(backends, 0), Fence(1, 1))
    stop, statuses = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            statuses.append(get(envoy.ports.port)[0])

    client = threading.Thread(target=ask)
    client.start()
    for sequence, share in enumerate((10, 50, 100, 50, 0, 100), start=2):
        envoy.router.apply("digits", _split(backends, share), Fence(1, sequence))
    endpoints = {"new": backends[1].port}
    envoy.router.apply("digits", Split(endpoints, {"new": 100}), Fence(1, 9))
    stop.set()
    client.join()
    assert set(statuses) == {200} and len(statuses) > 20


def test_pinned_requests_go_to_one_revision_and_all_others_by_weight(
    envoy: RunningEnvoy, backends: list[Backend]
) -> None:
    split = replace(_split(backends, 0), pin=Pin("new", {"x-tenant": "acme", "x-test": "1"}))
    envoy.router.apply("digits", split, Fence(1, 1))
    assert envoy.router.read("digits") == (Fence(1, 1), split)
    port = envoy.ports.port
    assert get(port, **{"x-tenant": "acme", "x-test": "1"})[2] == "new"
    for headers in ({}, {"x-tenant": "acme"}, {"x-tenant": "other", "x-test": "1"}):
        assert get(port, **headers)[2] == "old"
    envoy.router.apply("digits", _split(backends, 0), Fence(1, 2))
    assert get(port, **{"x-tenant": "acme", "x-test": "1"})[2] == "old"


def test_copies_of_requests_go_to_the_mirror_and_no_client_sees_its_answers(
    envoy: RunningEnvoy, backends: list[Backend]
) -> None:
    mirror = Backend("mirror", status=500)
    split = replace(_split(backends, 0), mirror=Mirror("new", mirror.port, 100))
    envoy.router.apply("digits", split, Fence(1, 1))
    assert envoy.router.read("digits") == (Fence(1, 1), split)
    answers = [post(envoy.ports.port, f"/invocations?n={number}", b"{}") for number in range(20)]
    assert answers == [(200, b"old")] * 20
    until(lambda: len(mirror.asked) == 20, "the copies")
    assert sorted(mirror.asked) == sorted(("POST", f"/invocations?n={number}", b"{}") for number in range(20))
    assert set(envoy.router.counters("digits", ["old", "new"])) >= {"old"}
    envoy.router.apply("digits", _split(backends, 0), Fence(1, 2))
    assert post(envoy.ports.port, "/", b"{}") == (200, b"old")
    until(lambda: len(backends[0].asked) == 21, "the last request")
    assert len(mirror.asked) == 20
    mirror.stop()


def test_a_mirror_that_is_gone_costs_clients_nothing(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    mirror = Backend("mirror")
    envoy.router.apply("digits", replace(_split(backends, 0), mirror=Mirror("new", mirror.port, 100)), Fence(1, 1))
    mirror.stop()
    assert count(envoy.ports.port, 20) == {"old": 20}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pin": Pin("unknown", {"a": "b"})}, r"router\.weights = \['unknown'\]"),
        ({"mirror": Mirror("new", 1, 0)}, r"router\.mirror = 0: give a percentage above 0"),
    ],
)
def test_a_pin_or_mirror_that_cannot_be_is_refused(
    envoy: RunningEnvoy, backends: list[Backend], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        envoy.router.apply("digits", replace(_split(backends, 0), **change), Fence(1, 1))


def test_it_counts_by_revision(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    failing = Backend("failing", status=500)
    endpoints = {"old": backends[0].port, "failing": failing.port}
    envoy.router.apply("digits", Split(endpoints, {"failing": 100}), Fence(1, 1))
    count(envoy.ports.port, 10)
    envoy.router.apply("digits", Split(endpoints, {"old": 100}), Fence(1, 2))
    count(envoy.ports.port, 5)

    def counted() -> bool:
        seen = envoy.router.counters("digits", ["old", "failing"])
        return (seen["failing"].requests, seen["failing"].failures, seen["old"].requests) == (10, 10, 5)

    until(counted, "the counters")
    until(lambda: envoy.router.counters("digits", ["old", "new"])["old"].slow.get(float("inf")) == 5, "the histogram")
    failing.stop()


def test_a_server_that_refuses_connections_is_a_failure_of_its_revision(
    envoy: RunningEnvoy, backends: list[Backend]
) -> None:
    envoy.router.apply("digits", _split(backends, 100), Fence(1, 1))
    backends[1].stop()
    assert get(envoy.ports.port)[0] == 503
    until(lambda: envoy.router.counters("digits", ["old", "new"])["new"].failures >= 1, "the failure to be counted")


# Fences


def test_an_older_fence_is_refused_and_changes_nothing(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    envoy.router.apply("digits", _split(backends, 0), Fence(5, 1))
    for fence in (Fence(4, 99), Fence(5, 0)):
        with pytest.raises(FencedError, match="written by generation 5 step 1"):
            envoy.router.apply("digits", _split(backends, 100), fence)
    assert get(envoy.ports.port)[1] == "old"


def test_the_same_fence_may_write_again(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    for _ in range(2):
        envoy.router.apply("digits", _split(backends, 100), Fence(1, 1))
    assert envoy.router.read("digits") == (Fence(1, 1), _split(backends, 100))


# What goes wrong


def test_a_wrong_split_is_refused_with_traffic_where_it_was(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    envoy.router.apply("digits", _split(backends, 0), Fence(1, 1))
    with pytest.raises(InvalidInputError, match="sum to 100"):
        envoy.router.apply("digits", Split({"old": backends[0].port}, {"old": 90}), Fence(1, 2))
    assert get(envoy.ports.port)[1] == "old"
    assert envoy.router.read("digits")[0] == Fence(1, 1)


def test_an_envoy_that_is_down_comes_back_with_what_was_asked_for(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    envoy.router.apply("digits", _split(backends, 0), Fence(1, 1))
    envoy.stop()
    with pytest.raises(UnavailableError, match="does not answer"):
        envoy.router.apply("digits", _split(backends, 100), Fence(1, 2))
    envoy.restart()
    until(lambda: get(envoy.ports.port)[1] == "new", "the new split")
    envoy.router.apply("digits", _split(backends, 100), Fence(1, 2))  # and the writer's next try is confirmed


def test_a_restart_keeps_the_split(envoy: RunningEnvoy, backends: list[Backend]) -> None:
    envoy.router.apply("digits", _split(backends, 100), Fence(1, 1))
    envoy.restart()
    until(lambda: get(envoy.ports.port)[1] == "new", "the split from before")


def test_an_envoy_that_is_stopped_in_its_tracks_is_not_confirmed(
    envoy: RunningEnvoy, backends: list[Backend], monkeypatch
) -> None:
    import signal

    monkeypatch.setattr("bulkhead.routers.envoy.admin._TIMEOUT_S", 0.3)
    envoy.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(UnavailableError):
            envoy.router.apply("digits", _split(backends, 100), Fence(1, 1))
    finally:
        envoy.process.send_signal(signal.SIGCONT)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("service", ["letters", "../digits"])
def test_an_unknown_service_is_named_with_the_known_ones(envoy: RunningEnvoy, service: str) -> None:
    with pytest.raises(NotFoundError, match="services in the configuration: digits"):
        envoy.router.read(service)


def test_nobody_can_stop_it_through_its_admin_port(envoy: RunningEnvoy) -> None:
    with pytest.raises(UnavailableError, match="answered 403"):
        admin_get(envoy.ports.admin_port, "/quitquitquit")
