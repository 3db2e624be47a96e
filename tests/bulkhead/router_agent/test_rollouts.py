"""Whole rollouts behind router pods: real Envoys split and count, the rest of the world is in memory."""

from collections.abc import Iterator

import pytest

from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.backend import ServingBackend
from bulkhead.rollout.plan import Plan
from tests.fixtures.router_pods import RoutingPods
from tests.servers import Backend, count, get
from tests.waiting import until
from tests.worlds import Stage

PLAN = Plan(steps=(50, 100), step_s=0, min_requests=20, drain_s=0, latency_ms=60_000, latency_floor_ms=60_000)


@pytest.fixture
def stage(sqlite_url: str, routing: RoutingPods) -> Stage:
    """A service behind two router pods, with a stable revision."""
    made = Stage(sqlite_url)
    made.backend = ServingBackend(routing.router, made.workloads, routing.router)
    made.router = routing.router  # type: ignore[assignment]  # who is asked for the weights
    for _ in range(2):
        routing.add()
    made.stable()
    return made


@pytest.fixture
def servers() -> Iterator[dict[str, Backend]]:
    made = {"good": Backend("good"), "bad": Backend("bad", status=500)}
    yield made
    for server in made.values():
        server.stop()


def _asked(stage: Stage, routing: RoutingPods, servers: dict[str, Backend], which: str) -> tuple[str, Rollout]:
    """Ask for a revision that one of the servers answers for; the stable one's id, and its rollout."""
    (old,) = stage.weights
    routing.serve(old, servers["good"].port)
    rollout = stage.ask(which, PLAN)
    routing.serve(rollout.revision_id, servers[which].port)
    return old, rollout


def _reach(stage: Stage, routing: RoutingPods, rollout: Rollout, phase: Phase) -> Rollout:
    """Reconcile until a rollout is in a phase, while clients ask every router pod."""

    def reached() -> Rollout | None:
        stage.reconciler.run_once()
        for pod in routing.pods:
            count(pod.port, 10)
        stage.clock.pass_by(1)
        now = stage.now(rollout)
        return now if now.phase is phase else None

    return until(reached, str(phase))


def test_a_good_revision_takes_over_by_what_the_envoys_have_counted(
    stage: Stage, routing: RoutingPods, servers: dict[str, Backend]
) -> None:
    _, new = _asked(stage, routing, servers, "good")
    _reach(stage, routing, new, Phase.PROMOTED)
    assert stage.weights == {new.revision_id: 100}
    assert {get(pod.port)[2] for pod in routing.pods} == {new.revision_id}


def test_a_bad_one_goes_back_though_an_envoy_that_counted_it_was_started_again(
    stage: Stage, routing: RoutingPods, servers: dict[str, Backend]
) -> None:
    old, bad = _asked(stage, routing, servers, "bad")
    _reach(stage, routing, bad, Phase.ANALYSING)
    first = routing.pods[0]
    first.end_envoy()
    first.begin_envoy()
    ended = _reach(stage, routing, bad, Phase.ROLLED_BACK)
    assert "failed" in str(ended.reason)
    assert stage.weights == {old: 100}
    assert {get(pod.port)[2] for pod in routing.pods} == {old}
