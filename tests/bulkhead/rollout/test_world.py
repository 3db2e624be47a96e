import json

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.metrics.counters import Answers, Counters
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.rollout.plan import Step
from bulkhead.rollout.world import World
from bulkhead.routers.base import Fence, Mirror, Split
from tests.rollouts import promote, request
from tests.servers import Backend
from tests.worlds import Stage


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


@pytest.fixture
def world(stage: Stage) -> World:
    return World(stage.ledger, lambda _: stage.site, stage.registry, stage.devices)


def test_a_revision_that_was_never_seen_has_zeros(stage: Stage, world: World) -> None:
    assert world.counters(request(stage.ledger, "a")) == {request(stage.ledger, "a").revision_id: Counters()}


def test_every_pod_of_a_revision_is_asked_what_it_has_answered(stage: Stage, world: World) -> None:
    rollout = request(stage.ledger, "a")
    pods = [Backend(json.dumps({"model": {"answers": {"seen": seen}}})) for seen in (3, 4)]
    try:
        stage.workloads.told[rollout.revision_id] = {
            f"pod-{index}": f"http://127.0.0.1:{pod.port}/statistics" for index, pod in enumerate(pods)
        }
        known = world.counters(rollout, Step(weight=10))[rollout.revision_id]
        assert known.by_pod == {"pod-0": Answers(3), "pod-1": Answers(4)}
        assert world.counters(rollout)[rollout.revision_id].by_pod == {}  # nobody judges: nobody is asked
        pods[1].name = "not JSON"
        assert world.counters(rollout, Step(weight=10))[rollout.revision_id].answers is None
    finally:
        for pod in pods:
            pod.stop()


def test_a_revision_with_traffic_is_not_forgotten(stage: Stage, world: World) -> None:
    rollout = request(stage.ledger, "a")
    world.launch(rollout)
    world.show(rollout, Step(weight=100))
    with pytest.raises(UnavailableError, match="still has traffic"):
        world.forget(rollout, rollout.revision_id)
    assert rollout.revision_id in stage.workloads.servers


def test_a_revision_with_pinned_requests_is_not_forgotten(stage: Stage, world: World) -> None:
    old = promote(stage.ledger, "a")
    world.launch(old)
    rollout = request(stage.ledger, "b")
    world.launch(rollout)
    world.show(rollout, Step(headers={"x-tenant": "a"}))
    assert stage.router.read("digits")[1].weights == {old.revision_id: 100}
    with pytest.raises(UnavailableError, match="still has traffic"):
        world.forget(rollout, rollout.revision_id)


def test_requests_are_mirrored_to_whoever_compares_and_to_nobody_afterwards(stage: Stage, world: World) -> None:
    old = promote(stage.ledger, "a")
    world.launch(old)
    rollout = request(stage.ledger, "b")
    world.launch(rollout)
    assert world.prepare(rollout, Step(mirror=30))
    world.show(rollout, Step(mirror=30))
    _, split = stage.router.read("digits")
    assert (split.mirror, split.weights) == (Mirror(rollout.revision_id, 2000, 30), {old.revision_id: 100})
    world.show(rollout, Step(weight=10))
    assert stage.router.read("digits")[1].mirror is None
    assert stage.workloads.comparers == {}


def test_who_compares_is_waited_for(stage: Stage, world: World) -> None:
    world.launch(promote(stage.ledger, "a"))
    rollout = request(stage.ledger, "b")
    world.launch(rollout)
    stage.workloads.ready = False
    assert not world.prepare(rollout, Step(mirror=30))
    stage.workloads.comparers[rollout.revision_id] = PodStatus(PodPhase.FAILED, message="no memory")
    with pytest.raises(UnavailableError, match="ended: no memory"):
        world.prepare(rollout, Step(mirror=30))


def test_a_share_for_a_revision_without_a_server_is_refused(stage: Stage, world: World) -> None:
    with pytest.raises(UnavailableError, match="has no server"):
        world.show(request(stage.ledger, "a"), Step(weight=50))


def test_a_server_that_moved_to_another_port_is_found_again(stage: Stage, world: World) -> None:
    rollout = promote(stage.ledger, "a")
    world.launch(rollout)
    stage.router.splits["digits"] = (Fence(1, 5), Split({rollout.revision_id: 9}, {rollout.revision_id: 100}))
    assert world.repoint("digits", rollout.revision_id, 2) is True
    fence, split = stage.router.read("digits")
    assert fence == Fence(2, 5)
    assert split == Split({rollout.revision_id: 1000}, {rollout.revision_id: 100})
    assert world.repoint("digits", rollout.revision_id, 2) is False


def test_a_server_that_is_not_ready_is_not_pointed_at(stage: Stage, world: World) -> None:
    rollout = promote(stage.ledger, "a")
    stage.workloads.ready = False
    world.launch(rollout)
    stage.router.splits["digits"] = (Fence(1, 5), Split({rollout.revision_id: 9}, {rollout.revision_id: 100}))
    assert world.repoint("digits", rollout.revision_id, 2) is False
