import json
from math import inf

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.rollout.world import World, dump, load
from bulkhead.routers.base import Counters, Fence, Split
from tests.rollouts import promote, request
from tests.worlds import Stage


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


@pytest.fixture
def world(stage: Stage) -> World:
    return World(stage.ledger, stage.router, stage.workloads, stage.registry)  # type: ignore[arg-type]


def test_counters_survive_the_ledger() -> None:
    counters = {"digits-1": Counters(10, 2, {250.0: 7, inf: 10})}
    assert load(json.loads(json.dumps(dump(counters)))) == counters


def test_a_revision_that_was_never_seen_has_zeros(stage: Stage, world: World) -> None:
    assert world.counters(request(stage.ledger, "a")) == {request(stage.ledger, "a").revision_id: Counters()}


def test_a_revision_with_traffic_is_not_forgotten(stage: Stage, world: World) -> None:
    rollout = request(stage.ledger, "a")
    world.launch(rollout)
    world.split(rollout, 100)
    with pytest.raises(UnavailableError, match="still has 100 % of the traffic"):
        world.forget(rollout, rollout.revision_id)
    assert rollout.revision_id in stage.workloads.servers


def test_a_share_for_a_revision_without_a_server_is_refused(stage: Stage, world: World) -> None:
    with pytest.raises(UnavailableError, match="has no server"):
        world.split(request(stage.ledger, "a"), 50)


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
