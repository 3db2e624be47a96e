"""Envoys in pods follow the split of a cluster: real Envoys, a cluster in memory."""

import threading
from typing import Any

import pytest

from bulkhead.errors import FencedError, InvalidInputError, UnavailableError
from bulkhead.metrics.http_json import get_text
from bulkhead.router_agent.agent import run
from bulkhead.routers.base import FOREIGN, Fence, Mirror, Pin, Split
from bulkhead.routers.envoy.pods import RouterPodsRouter, object_name
from bulkhead.runtimes.kubernetes.objects import CONFIG_MAP, ENDPOINT_SLICE, POD, Objects
from tests.fixtures.router_pods import TOKEN, RoutingPods
from tests.ports import free_port
from tests.servers import Backend, count, get, post
from tests.waiting import until

ENDPOINTS = {"old": 8080, "new": 8080}


@pytest.fixture
def served(routing: RoutingPods, backends: list[Backend]) -> RoutingPods:
    """The service has two revisions, and one router pod."""
    for backend in backends:
        routing.serve(backend.name, backend.port)
    routing.add()
    return routing


def _all(revision: str) -> Split:
    return Split(ENDPOINTS, {revision: 100})


def test_before_anything_is_released_it_answers_503_and_says_why(routing: RoutingPods) -> None:
    pod = routing.add()
    assert get(pod.port) == (503, "service digits has no revision that serves", None)
    assert routing.router.read("digits") == (Fence(0, 0), Split())


def test_every_envoy_splits_as_told_once_apply_has_returned(served: RoutingPods) -> None:
    served.add()
    for sequence, share in enumerate((0, 50, 100), start=1):
        split = Split(ENDPOINTS, {"old": 100 - share, "new": share})
        served.router.apply("digits", split, Fence(1, sequence))
        assert served.router.read("digits") == (Fence(1, sequence), split)
        for pod in served.pods:
            assert abs(count(pod.port, 200)["new"] / 2 - share) < 15  # four standard deviations at a half are 14


def test_no_request_is_lost_while_the_weights_change(served: RoutingPods) -> None:
    served.router.apply("digits", _all("old"), Fence(1, 1))
    stop, statuses = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            statuses.append(get(served.pods[0].port)[0])

    client = threading.Thread(target=ask)
    client.start()
    for sequence, share in enumerate((10, 50, 0, 100), start=2):
        served.router.apply("digits", Split(ENDPOINTS, {"old": 100 - share, "new": share}), Fence(1, sequence))
    served.router.apply("digits", Split({"new": 8080}, {"new": 100}), Fence(1, 9))
    stop.set()
    client.join()
    assert set(statuses) == {200} and len(statuses) > 20


def test_where_no_server_is_ready_those_that_refuse_hide_none_that_answers(
    routing: RoutingPods, backends: list[Backend]
) -> None:
    starting = {"ready": False, "serving": False, "terminating": False}
    routing.serve("old", backends[0].port, free_port(), free_port(), **starting)
    routing.serve("old", free_port(), ready=False, serving=True, terminating=True)
    pod = routing.add()
    routing.router.apply("digits", Split({"old": 8080}, {"old": 100}), Fence(1, 1))
    assert [get(pod.port)[0] for _ in range(60)] == [200] * 60


def test_pins_and_mirrors_are_as_on_one_machine(served: RoutingPods) -> None:
    mirror = Backend("mirror", status=500)
    labels = {"kubernetes.io/service-name": "compare-new", "bulkhead.dev/service": "digits"}
    endpoints = [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]
    served.cluster.put(
        ENDPOINT_SLICE, "compare", metadata={"labels": labels}, endpoints=endpoints, ports=[{"port": mirror.port}]
    )
    split = Split(ENDPOINTS, {"old": 100}, Pin("new", {"x-tenant": "acme"}), Mirror("new", 8080, 100))
    served.router.apply("digits", split, Fence(1, 1))
    assert served.router.read("digits") == (Fence(1, 1), split)
    (pod,) = served.pods
    assert get(pod.port, **{"x-tenant": "acme"})[2] == "new"
    assert [post(pod.port, "/invocations", b"{}") for _ in range(10)] == [(200, b"old")] * 10
    until(lambda: len(mirror.asked) == 10, "the copies")
    assert set(served.router.counters("digits", ["old", "new"])) == {"old", "new"}
    mirror.stop()


def test_what_the_envoys_have_counted_is_added_up_and_told_apart(served: RoutingPods) -> None:
    first, second = served.pods[0], served.add()
    served.router.apply("digits", _all("old"), Fence(1, 1))
    count(first.port, 6)
    count(second.port, 4)
    counted = served.router.counters("digits", ["old", "new", "unseen"])
    assert counted["old"].requests == 10 and dict(counted["old"].statuses) == {"200": 10}
    assert sorted(part.requests for part in counted["old"].parts.values()) == [4, 6]
    assert counted["new"].requests == counted["unseen"].requests == 0
    before = set(counted["old"].parts)
    second.end_envoy()
    second.begin_envoy()
    until(lambda: second.agent.not_ready() is None, "the Envoy that was started again")
    again = served.router.counters("digits", ["old"])["old"]
    assert again.requests == 6 and len(set(again.parts) - before) == 1  # another life: nothing is taken off


def test_a_cluster_that_is_away_changes_nothing_and_neither_does_a_restart_meanwhile(served: RoutingPods) -> None:
    (pod,) = served.pods
    served.router.apply("digits", _all("new"), Fence(2, 3))
    served.cluster.go(away=True)
    until(lambda: "configmaps" in _trouble(served), "the agent to notice")
    assert get(pod.port)[2] == "new" and pod.agent.not_ready() is None
    pod.end()
    pod.begin()
    assert get(pod.port)[2] == "new" and pod.agent.not_ready() is None
    served.cluster.go(away=False)
    served.router.apply("digits", _all("old"), Fence(3, 1))
    assert get(pod.port)[2] == "old"


def _trouble(routing: RoutingPods) -> str:
    return routing.pods[0].agent.state().decode()


def test_a_new_pod_takes_no_client_before_it_has_the_split(routing: RoutingPods) -> None:
    routing.cluster.go(away=True)
    routing.cluster.put(POD, "unused")
    pod = None
    try:
        with pytest.raises(AssertionError, match="the pod to be ready"), pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.waiting.PATIENCE_S", 1)
            routing.add()
        (pod,) = routing.pods
        assert "configmaps" in str(pod.agent.not_ready())
    finally:
        routing.cluster.go(away=False)
    until(lambda: pod.agent.not_ready() is None, "the cluster to be heard")


def test_a_zombie_is_refused_by_the_object_and_where_that_is_gone_by_the_pods(served: RoutingPods) -> None:
    served.router.apply("digits", _all("old"), Fence(3, 2))
    with pytest.raises(FencedError, match="generation 3 step 2"):
        served.router.apply("digits", _all("new"), Fence(3, 1))
    served.cluster.remove(CONFIG_MAP, object_name("digits"))
    with pytest.raises(FencedError, match=r"router pod router-0 has generation 3 step 2.*delete the pod"):
        served.router.apply("digits", _all("new"), Fence(2, 9))
    assert get(served.pods[0].port)[2] == "old"


def test_what_somebody_writes_in_its_place_is_not_served_and_is_repaired_under_the_same_fence(
    served: RoutingPods,
) -> None:
    (pod,) = served.pods
    served.router.apply("digits", _all("old"), Fence(1, 1))
    served.cluster.put(CONFIG_MAP, object_name("digits"), data={"split.json": '{"weights": {"x": 100}}'})
    assert served.router.read("digits") == (Fence(1, 1), Split({}, {FOREIGN: 100}))
    until(lambda: "holds no split of Bulkhead's" in _trouble(served), "the agent to see it")
    assert get(pod.port)[2] == "old" and pod.agent.not_ready() is None
    served.router.apply("digits", _all("old"), Fence(1, 1))
    until(lambda: '"trouble": ""' in _trouble(served), "the agent to see that it is mended")


def test_another_split_under_the_same_fence_is_confirmed_when_it_is_in_force(served: RoutingPods) -> None:
    (pod,) = served.pods
    served.router.apply("digits", _all("old"), Fence(1, 1))
    for revision in ("new", "old", "new"):
        served.router.apply("digits", _all(revision), Fence(1, 1))
        assert get(pod.port)[2] == revision


def test_servers_come_and_go(served: RoutingPods, backends: list[Backend]) -> None:
    (pod,) = served.pods
    served.router.apply("digits", _all("old"), Fence(1, 1))
    other = Backend("moved")
    served.serve("old", other.port)
    until(lambda: get(pod.port)[1] == "moved", "the second server to be asked")
    served.cluster.remove(ENDPOINT_SLICE, f"serve-old-{backends[0].port}")
    until(lambda: set(count(pod.port, 10)) == {"moved"}, "the first to be asked no more")
    other.stop()


def test_an_envoy_that_has_not_taken_it_up_is_named(served: RoutingPods) -> None:
    lagging, objects = served.add(), Objects(served.cluster.client(), "ml")
    router = RouterPodsRouter(objects, served.settings, confirm_s=0.3)
    served.router.apply("digits", _all("old"), Fence(1, 1))
    lagging.end_agent()
    with pytest.raises(UnavailableError, match=r"not in force: router pod router-1: .*does not answer"):
        router.apply("digits", _all("new"), Fence(1, 2))
    with pytest.raises(UnavailableError, match="router pod router-1"):
        router.counters("digits", ["old"])
    lagging.say(ready=False)  # clients are sent past it
    served.router.apply("digits", _all("new"), Fence(1, 2))
    assert router.counters("digits", ["old"])["old"].requests == 0
    first = served.pods[0]
    first.end_agent()
    first.say(ready=False)
    with pytest.raises(UnavailableError, match="no router pod of service digits"):
        router.counters("digits", ["old"])  # nobody answers: that is not no request
    for pod in served.pods:
        pod.begin_agent()
        pod.say(ready=True)
    served.router.apply("digits", _all("new"), Fence(1, 3))
    assert get(lagging.port)[2] == "new"


def test_a_service_without_a_router_pod_says_where_to_look(routing: RoutingPods) -> None:
    router = RouterPodsRouter(Objects(routing.cluster.client(), "ml"), routing.settings, confirm_s=0.1)
    with pytest.raises(
        UnavailableError, match=r"no router pod .* kubectl -n ml get pods -l bulkhead.dev/router=digits"
    ):
        router.apply("digits", _all("old"), Fence(1, 1))
    with pytest.raises(UnavailableError, match="no router pod of service digits"):
        router.counters("digits", ["old"])


def test_how_it_stands_is_told_to_whoever_has_the_token(served: RoutingPods, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.2:{served.settings.port}"
    for path in ("/state", "/metrics"):
        with pytest.raises(UnavailableError, match="401"):
            get_text(url + path)
        assert get_text(url + path, token=TOKEN)
    served.router.apply("digits", _all("old"), Fence(1, 1))
    metric = 'bulkhead_router_up_to_date{service="digits"}'
    until(lambda: f"{metric} 1.0" in get_text(url + "/metrics", token=TOKEN), "the metric")
    served.cluster.go(away=True)
    until(lambda: f"{metric} 0.0" in get_text(url + "/metrics", token=TOKEN), "the metric to fall")
    served.cluster.go(away=False)
    assert get_text(url + "/readyz") == get_text(url + "/livez") == "ok\n"
    monkeypatch.setenv("BULKHEAD_ROUTER_TOKEN", "another token of somebody")
    with pytest.raises(UnavailableError, match=r"router pod router-0: .*401"):
        served.router.counters("digits", ["old"])


@pytest.mark.parametrize(("value", "message"), [("", "set this environment variable"), ("short", "at least 16")])
def test_without_a_token_it_does_not_begin(
    routing: RoutingPods, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv("BULKHEAD_ROUTER_TOKEN", value)
    agent: Any = None  # it is not asked for anything
    with pytest.raises(InvalidInputError, match=message):
        run(agent, routing.settings, threading.Event())
