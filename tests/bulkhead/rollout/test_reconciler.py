"""What the reconciler decides, over a world in memory. ``test_kill`` ends it at every step of a real one."""

from itertools import pairwise

import pytest

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import RETURN, Plan
from tests.rollouts import revision
from tests.worlds import Stage

PLAN = Plan(steps=(10, 100), step_s=5, min_requests=20, ready_s=60, inconclusive_timeout_s=300, drain_s=10)


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


def _pass_step(stage: Stage, rollout: Rollout, requests: int = 100) -> None:
    stage.clock.pass_by(6)
    stage.router.answer(rollout.revision_id, requests)
    stage.reconciler.run_once()


def test_a_good_release_goes_up_step_by_step_and_moves_the_alias_last(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    assert stage.reconciler.run_once() is True
    assert stage.weights == {old: 90, rollout.revision_id: 10}
    assert stage.registry.alias == stage.registry.versions[old]
    _pass_step(stage, rollout)
    assert stage.weights == {rollout.revision_id: 100}
    assert stage.registry.alias == stage.registry.versions[old]
    _pass_step(stage, rollout)
    assert stage.now(rollout).phase is Phase.PROMOTED
    assert stage.registry.alias == stage.registry.versions[rollout.revision_id]
    assert old not in stage.workloads.servers
    assert list(stage.router.read("digits")[1].endpoints) == [rollout.revision_id]


def test_the_stable_revision_stays_warm_until_the_end(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    _pass_step(stage, rollout)
    assert stage.weights == {rollout.revision_id: 100}
    assert old in stage.workloads.servers and old in stage.router.read("digits")[1].endpoints


def test_a_bad_release_goes_back_with_the_numbers(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.clock.pass_by(2)
    stage.router.answer(rollout.revision_id, 20, failures=5)
    stage.reconciler.run_once()
    done = stage.now(rollout)
    assert done.phase is Phase.ROLLED_BACK
    assert done.reason == "at 10 % of the traffic 5 of 20 (25.0%) requests failed, limit 1.0%"
    assert done.exposed_at and done.decided_at and done.contained_at
    assert stage.weights == {old: 100}
    assert stage.registry.alias == stage.registry.versions[old]
    assert rollout.revision_id not in stage.workloads.servers


def test_failures_before_the_step_are_not_held_against_it(stage: Stage) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.router.answer(rollout.revision_id, 100, failures=100)
    stage.reconciler.run_once()
    _pass_step(stage, rollout)
    assert stage.now(rollout).step == 1


def test_without_traffic_it_holds_and_after_the_bound_goes_back(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.clock.pass_by(299)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ANALYSING
    stage.clock.pass_by(2)
    stage.reconciler.run_once()
    assert stage.weights == {old: 100}
    assert "no sufficient evidence after 300 s" in str(stage.now(rollout).reason)


def test_a_counter_reset_holds(stage: Stage) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.router.answer(rollout.revision_id, 1000)
    stage.reconciler.run_once()
    stage.router.seen.clear()
    stage.router.answer(rollout.revision_id, 50, failures=50)
    stage.clock.pass_by(10)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ANALYSING
    assert stage.ledger.events.select(rollout.id, "waiting")[-1].data["for"] == "hold: no-data"


def test_what_it_waits_for_is_recorded_once_not_at_every_look(stage: Stage) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    for _ in range(5):
        stage.reconciler.run_once()
    assert len(stage.ledger.events.select(rollout.id, "waiting")) == 1


def test_a_rollback_from_outside_is_carried_out(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.ledger.rollouts.request_rollback(Request("r", "a person said so", "cli"), service="digits")
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    assert stage.weights == {old: 100}


def test_a_rollback_after_the_alias_has_moved_moves_it_back(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", Plan(steps=(100,), judged=False))
    stage.ledger.rollouts.transition(rollout, Phase.REGISTERED, "registered", {})
    stage.registry.versions[rollout.revision_id] = "9"
    stage.ledger.revisions.set_model_version(rollout.revision_id, "9")
    stage.registry.point("digits", "9", "digits", rollout.generation)
    stage.ledger.rollouts.request_rollback(Request("r", "late", "cli"), service="digits")
    stage.reconciler.run_once()
    assert stage.registry.alias == stage.registry.versions[old]


def test_a_first_release_that_fails_leaves_no_champion_and_nobody_in_the_router(stage: Stage) -> None:
    rollout = stage.ask("first", Plan(steps=(100,), step_s=0, min_requests=20))
    stage.reconciler.run_once()
    assert stage.weights == {rollout.revision_id: 100}
    stage.router.answer(rollout.revision_id, 50, failures=50)
    stage.reconciler.run_once()
    assert (stage.weights, stage.registry.alias) == ({}, None)


def test_a_revision_is_drained_before_it_is_stopped_but_not_for_ever(stage: Stage) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.router.answer(rollout.revision_id, 20, failures=20, active=3)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.DRAINING
    assert rollout.revision_id in stage.workloads.servers
    stage.clock.pass_by(11)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    assert rollout.revision_id not in stage.workloads.servers


# What does not answer, what is broken


def test_a_model_that_does_not_exist_goes_back_with_traffic_where_it_was(stage: Stage) -> None:
    old = stage.stable()
    spec = revision("new", model_version="77")
    plan = PLAN.model_dump(mode="json")
    rollout = stage.ledger.rollouts.request(spec.columns(), plan, Request("n", "", "a test"), owner="run")
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    assert stage.now(rollout).reason == "MLflow knows no version 77 of model 'digits'"
    assert stage.weights == {old: 100}
    assert stage.workloads.launched == [old]


def test_what_is_down_is_waited_for_on_the_way_forward_up_to_a_bound(stage: Stage) -> None:
    stage.stable()
    stage.registry.broken = UnavailableError("MLflow does not answer")
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.REQUESTED
    stage.clock.pass_by(301)
    stage.reconciler.run_once()
    assert "gave up after 300 s: MLflow does not answer" in str(stage.now(rollout).reason)


def test_on_the_way_back_there_is_no_giving_up(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.router.up = False
    stage.ledger.rollouts.request_rollback(Request("r", "x", "cli"), service="digits")
    stage.reconciler.run_once()
    stage.clock.pass_by(86400)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.RESTORING
    stage.router.up = True
    stage.reconciler.run_once()
    assert stage.weights == {old: 100}


@pytest.mark.parametrize("error", [InvalidInputError("gpus", 9, "ask for fewer"), RuntimeError("a bug")])
def test_an_error_in_one_release_rolls_it_back_and_does_not_keep_others_from_theirs(
    stage: Stage, error: Exception
) -> None:
    stage.stable()
    broken = stage.ask("new", PLAN)
    other = revision("other", service="letters")
    plan = RETURN.model_dump(mode="json")
    sound = stage.ledger.rollouts.request(other.columns(), plan, Request("o", "", "a test"), owner="o")
    stage.registry.versions[sound.revision_id] = "5"
    stage.ledger.revisions.set_model_version(sound.revision_id, "5")
    stage.registry.broken = error
    stage.reconciler.run_once()
    assert str(error) in str(stage.now(broken).reason)
    assert stage.now(broken).phase is Phase.ROLLED_BACK
    assert stage.now(sound).phase is Phase.PROMOTED


def test_an_error_after_promotion_does_not_turn_it_round(stage: Stage, monkeypatch) -> None:
    stage.stable()
    rollout = stage.ask("new", Plan(steps=(100,), judged=False))

    def broken(revision_id: str, generation: int) -> None:
        raise RuntimeError("cannot stop it")

    monkeypatch.setattr(stage.workloads, "stop", broken)
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.RETIRING
    assert stage.weights == {rollout.revision_id: 100}
    monkeypatch.undo()
    stage.reconciler.run_once()
    assert stage.now(rollout).phase is Phase.PROMOTED


# Zombies


def test_a_zombie_reconciler_cannot_shift_traffic_back(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stale = stage.now(rollout)  # what a reconciler read before it was suspended
    stage.ledger.rollouts.request_rollback(Request("r", "x", "cli"), service="digits")
    stage.reconciler.run_once()
    assert stage.another()._advance(stale).phase is Phase.ANALYSING  # it meets the fence, and gives up
    assert stage.weights == {old: 100}
    assert stage.now(rollout).phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("lease_s", [5, 0], ids=["one holds the lease", "they take it from each other"])
def test_two_reconcilers_at_once_do_no_harm(stage: Stage, lease_s: float) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    second = stage.another(lease_s)
    for _ in range(4):
        stage.clock.pass_by(6)
        stage.router.answer(rollout.revision_id, 100)
        stage.reconciler.run_once()
        second.run_once()
    assert stage.now(rollout).phase is Phase.PROMOTED
    assert len(stage.ledger.events.select(rollout.id, "promoted")) == 1


def test_one_that_dies_is_replaced_when_its_lease_has_run_out(stage: Stage) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()  # and dies
    second = stage.another()
    stage.router.answer(rollout.revision_id, 100)
    assert second.run_once()
    assert second.unsure
    stage.clock.pass_by(5)
    second.run_once()
    assert not second.unsure
    assert stage.now(rollout).step > 0


def test_one_that_ends_is_replaced_at_once(stage: Stage) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.reconciler.close()
    stage.router.answer(rollout.revision_id, 100)
    stage.clock.pass_by(6)
    stage.another(lease_s=60).run_once()
    assert stage.now(rollout).step > 0


# The stable revision


def test_a_stable_server_that_died_is_started_again(stage: Stage) -> None:
    old = stage.stable()
    generation = stage.ledger.services.get("digits").generation
    stage.workloads.die(old)
    stage.reconciler.run_once()
    assert stage.workloads.launched == [old, old]
    assert stage.ledger.services.get("digits").generation == generation + 1


def test_one_that_dies_again_and_again_is_started_ever_more_rarely(stage: Stage) -> None:
    old = stage.stable()
    for _ in range(600):
        stage.workloads.die(old)
        stage.reconciler.run_once()
        stage.clock.pass_by(0.5)
    repairs = [event.at for event in stage.ledger.events.select(kind="repair")]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(repairs)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert max(gaps) == 60


def test_a_stable_server_that_dies_during_a_rollout_does_not_stop_it(stage: Stage) -> None:
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.workloads.die(old)
    _pass_step(stage, rollout)
    _pass_step(stage, rollout)
    assert stage.now(rollout).phase is Phase.PROMOTED


def test_what_does_not_answer_is_asked_ever_more_rarely_but_on_the_way_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def away(service: str, *_: object) -> None:
        asked.append(service)
        raise UnavailableError("the router is down")

    def asked_in_20_s() -> int:
        asked.clear()
        for _ in range(20):
            stage.clock.pass_by(1)
            stage.reconciler.run_once()
        return len(asked)

    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    _pass_step(stage, rollout)
    monkeypatch.setattr(stage.router, "counters", away)
    assert 0 < asked_in_20_s() <= 6
    monkeypatch.setattr(stage.router, "apply", away)
    stage.ledger.rollouts.request_rollback(Request("k", "a person", "a test"), service="digits")
    assert asked_in_20_s() >= 20
