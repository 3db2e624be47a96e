import json

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.ledger.tables import Rollout
from bulkhead.metrics.counters import Answers, Counters
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.rollout.context import RolloutContext
from bulkhead.rollout.drift import repoint
from bulkhead.rollout.effects import Effects
from bulkhead.rollout.plan import Plan, Step
from bulkhead.routers.base import Fence, Mirror, Split
from tests.rollouts import promote, request
from tests.servers import Backend
from tests.worlds import Stage


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


@pytest.fixture
def effects(stage: Stage) -> Effects:
    return Effects(stage.ledger, stage.registry, stage.devices)


def _at(stage: Stage, rollout: Rollout, step: Step = Step(weight=100)) -> RolloutContext:  # noqa: B008 - it is frozen
    """A rollout at the first step of a plan that begins with this one."""
    steps = (step,) if step.weight == 100 else (step, Step(weight=100))
    return RolloutContext(rollout, Plan(steps=steps), stage.backend, stage.clock)


def test_a_revision_that_was_never_seen_has_zeros(stage: Stage, effects: Effects) -> None:
    assert effects.counters(_at(stage, request(stage.ledger, "a"))) == {
        request(stage.ledger, "a").revision_id: Counters()
    }


def test_every_pod_of_a_revision_is_asked_what_it_has_answered(stage: Stage, effects: Effects) -> None:
    rollout = request(stage.ledger, "a")
    pods = [Backend(json.dumps({"model": {"answers": {"seen": seen}}})) for seen in (3, 4)]
    try:
        stage.workloads.endpoints[rollout.revision_id] = {
            f"pod-{index}": f"http://127.0.0.1:{pod.port}/statistics" for index, pod in enumerate(pods)
        }
        known = effects.counters(_at(stage, rollout), judged=True)[rollout.revision_id]
        assert known.by_pod == {"pod-0": Answers(3), "pod-1": Answers(4)}
        assert effects.counters(_at(stage, rollout))[rollout.revision_id].by_pod == {}  # nobody judges: nobody is asked
        pods[1].name = "not JSON"
        assert effects.counters(_at(stage, rollout), judged=True)[rollout.revision_id].answers is None
    finally:
        for pod in pods:
            pod.stop()


def test_a_revision_with_traffic_is_not_forgotten(stage: Stage, effects: Effects) -> None:
    rollout = request(stage.ledger, "a")
    effects.launch(_at(stage, rollout))
    effects.set_weight(_at(stage, rollout, Step(weight=100)))
    with pytest.raises(UnavailableError, match="still has traffic"):
        effects.stop(_at(stage, rollout), rollout.revision_id)
    assert rollout.revision_id in stage.workloads.servers


def test_a_revision_with_pinned_requests_is_not_forgotten(stage: Stage, effects: Effects) -> None:
    old = promote(stage.ledger, "a")
    effects.launch(_at(stage, old))
    rollout = request(stage.ledger, "b")
    effects.launch(_at(stage, rollout))
    effects.set_weight(_at(stage, rollout, Step(headers={"x-tenant": "a"})))
    assert stage.router.read("digits")[1].weights == {old.revision_id: 100}
    with pytest.raises(UnavailableError, match="still has traffic"):
        effects.stop(_at(stage, rollout), rollout.revision_id)


def test_requests_are_mirrored_to_whoever_compares_and_to_nobody_afterwards(stage: Stage, effects: Effects) -> None:
    old = promote(stage.ledger, "a")
    effects.launch(_at(stage, old))
    rollout = request(stage.ledger, "b")
    effects.launch(_at(stage, rollout))
    assert effects.prepare(_at(stage, rollout, Step(mirror=30)))
    effects.set_weight(_at(stage, rollout, Step(mirror=30)))
    _, split = stage.router.read("digits")
    assert (split.mirror, split.weights) == (Mirror(rollout.revision_id, 2000, 30), {old.revision_id: 100})
    effects.set_weight(_at(stage, rollout, Step(weight=10)))
    assert stage.router.read("digits")[1].mirror is None
    assert stage.workloads.comparers == {}


def test_who_compares_is_waited_for(stage: Stage, effects: Effects) -> None:
    effects.launch(_at(stage, promote(stage.ledger, "a")))
    rollout = request(stage.ledger, "b")
    effects.launch(_at(stage, rollout))
    stage.workloads.ready = False
    assert not effects.prepare(_at(stage, rollout, Step(mirror=30)))
    stage.workloads.comparers[rollout.revision_id] = PodStatus(PodPhase.FAILED, message="no memory")
    with pytest.raises(UnavailableError, match="ended: no memory"):
        effects.prepare(_at(stage, rollout, Step(mirror=30)))


def test_a_share_for_a_revision_without_a_server_is_refused(stage: Stage, effects: Effects) -> None:
    with pytest.raises(UnavailableError, match="has no server"):
        effects.set_weight(_at(stage, request(stage.ledger, "a"), Step(weight=50)))


def test_a_server_that_moved_to_another_port_is_found_again(stage: Stage, effects: Effects) -> None:
    rollout = promote(stage.ledger, "a")
    effects.launch(_at(stage, rollout))
    stage.router.splits["digits"] = (Fence(1, 5), Split({rollout.revision_id: 9}, {rollout.revision_id: 100}))
    assert repoint(stage.backend, "digits", rollout.revision_id, 2) is True
    fence, split = stage.router.read("digits")
    assert fence == Fence(2, 5)
    assert split == Split({rollout.revision_id: 1000}, {rollout.revision_id: 100})
    assert repoint(stage.backend, "digits", rollout.revision_id, 2) is False


def test_a_server_that_is_not_ready_is_not_pointed_at(stage: Stage, effects: Effects) -> None:
    rollout = promote(stage.ledger, "a")
    stage.workloads.ready = False
    effects.launch(_at(stage, rollout))
    stage.router.splits["digits"] = (Fence(1, 5), Split({rollout.revision_id: 9}, {rollout.revision_id: 100}))
    assert repoint(stage.backend, "digits", rollout.revision_id, 2) is False
