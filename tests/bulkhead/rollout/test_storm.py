"""Everything at once, in any order: rollouts, rollbacks, isolations, crashes, outages, clocks that jump.

A state machine of hypothesis over the world in memory and a real ledger. Whatever happened, once the trouble is over
the world is whole: one stable revision with all of the traffic, the alias on it, no other server, a complete log.
"""

import os
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bulkhead.errors import BulkheadError, UnavailableError
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout, Service
from bulkhead.rollout.plan import Plan, Step
from bulkhead.rollout.reconciler import Reconciler
from tests.fixtures.ledger import Ledgers
from tests.hostile import TEXT
from tests.rollouts import revision
from tests.worlds import Stage

EXAMPLES = 2000 if os.environ.get("BULKHEAD_NIGHTLY") else 200
pytestmark = pytest.mark.faults

PLANS = (
    Plan(steps=(10, 100), step_s=1, min_requests=5, inconclusive_timeout_s=60, drain_s=1),
    Plan(
        steps=(Step(weight=50, approve=True), Step(weight=100)),
        step_s=0,
        min_requests=1,
        inconclusive_timeout_s=60,
        approval_s=60,
    ),
    Plan(steps=(100,), step_s=0, min_requests=1, inconclusive_timeout_s=60, bake_s=30),
    Plan(
        steps=(Step(mirror=50), Step(weight=100)),
        step_s=0,
        min_requests=1,
        inconclusive_timeout_s=60,
        on_insufficient_data="promote",
    ),
)
NAMES = st.sampled_from("abcd")


class Crash(BaseException):
    """The process ends here: nothing may catch it."""


class Crashing:
    """Passes every call on, and crashes before or after one of them."""

    def __init__(self, inner: Any, fuse: "Fuse") -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self._fuse.burn()
            answer = found(*arguments, **more)
            self._fuse.burn()
            return answer

        return call


class Fuse:
    """Crashes at its end. Attributes: left (calls until then; None: never)."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash


class Storm(RuleBasedStateMachine):
    """One service, two reconcilers, and everything that can happen to them."""

    ledgers: ClassVar[Ledgers]

    def __init__(self) -> None:
        super().__init__()
        self.ledger = self.ledgers()
        self.stage = Stage(self.ledger.__enter__())
        self.fuse = Fuse()
        router = Crashing(self.stage.router, self.fuse)
        self.stage.backend = replace(
            self.stage.backend, router=router, metrics=router, workloads=Crashing(self.stage.workloads, self.fuse)
        )
        self.memory, self.stage.registry = self.stage.registry, Crashing(self.stage.registry, self.fuse)
        self.reconcilers: list[Reconciler] = [self.stage.another(), self.stage.another(lease_s=1)]
        self.count = 0
        self.stale: list[Rollout] = []
        self.seen: list[tuple[Service, Rollout | None]] = []

    def teardown(self) -> None:
        try:
            self._calm_down()
            self._is_whole()
        finally:
            self.ledger.__exit__(None, None, None)

    def _key(self) -> str:
        self.count += 1
        return f"k{self.count}"

    def _try(self, act: Any, *arguments: Any, **more: Any) -> None:
        """Somebody asks for something; a refusal is an answer, too."""
        try:
            act(*arguments, **more)
        except BulkheadError:
            return

    # What people and tasks ask for

    @rule(name=NAMES, plan=st.sampled_from(PLANS))
    def ask(self, name: str, plan: Plan) -> None:
        key = self._key()
        stage = self.stage
        if not any(one.stable_revision for one in stage.ledger.services.all()):
            plan = Plan(steps=(100,), judged=False)
        self._try(self._request, name, plan, key)

    def _request(self, name: str, plan: Plan, key: str) -> None:
        columns, document = revision(name).columns(), plan.model_dump(mode="json")
        self.stage.ledger.rollouts.request(columns, document, Request(key, "", "the storm"), owner=key)

    @rule(reason=TEXT)
    def roll_back(self, reason: str) -> None:
        request = Request(self._key(), reason, "the storm")
        self._try(self.stage.ledger.rollouts.request_rollback, request, service="digits")

    @rule()
    def approve(self) -> None:
        going = self.stage.ledger.rollouts.active_of("digits")
        if going is not None:
            self._try(self.stage.ledger.approvals.approve, going.id, Request(self._key(), "", "the storm"))

    @rule()
    def promote(self) -> None:
        going = self.stage.ledger.rollouts.active_of("digits")
        if going is not None:
            self._try(self.stage.ledger.approvals.promote, going.id, Request(self._key(), "", "the storm"))

    @rule(name=NAMES, levels=st.sets(st.sampled_from(list(IsolationLevel))))
    def isolate(self, name: str, levels: set[IsolationLevel]) -> None:
        request = Request(self._key(), "it leaks", "the storm")
        self._try(self.stage.ledger.isolations.isolate, revision(name).id, request, levels=levels)

    @rule(name=NAMES)
    def unisolate(self, name: str) -> None:
        request = Request(self._key(), "mended", "the storm")
        self._try(self.stage.ledger.isolations.unisolate, revision(name).id, request)

    # What the world does

    @rule(good=st.booleans(), requests=st.integers(1, 50))
    def answer(self, good: bool, requests: int) -> None:
        for name in self.stage.workloads.servers:
            self.stage.router.answer(name, requests, 0 if good else requests)

    @rule(seconds=st.sampled_from([0.1, 1, 7, 100, 4000, -5, -400]))
    def time_goes(self, seconds: float) -> None:
        self.stage.clock.pass_by(seconds)

    @rule(up=st.booleans())
    def router(self, up: bool) -> None:
        self.stage.router.up = up

    @rule(broken=st.none() | TEXT)
    def registry(self, broken: str | None) -> None:
        self.memory.broken = UnavailableError(f"MLflow is away: {broken}") if broken is not None else None

    @precondition(lambda self: self.stage.workloads.servers)
    @rule(data=st.data())
    def server_dies(self, data: st.DataObject) -> None:
        self.stage.workloads.die(data.draw(st.sampled_from(sorted(self.stage.workloads.servers))))

    @precondition(lambda self: self.stage.router.splits)
    @rule(weights=st.sampled_from([{}, {"digits-0": 100}]))
    def somebody_edits(self, weights: dict[str, int]) -> None:
        fence, split = self.stage.router.splits["digits"]
        self.stage.router.splits["digits"] = (fence, replace(split, weights=weights))

    # What reconcilers do, and what becomes of them

    @rule(which=st.integers(0, 1))
    def step(self, which: int) -> None:
        self.stale = list(self.stage.ledger.rollouts.active())
        going = self.stage.ledger.rollouts.active_of("digits")
        self.seen = [(service, going) for service in self.stage.ledger.services.all()]
        self.reconcilers[which].run_once()

    @rule(which=st.integers(0, 1), calls=st.integers(0, 30))
    def crash(self, which: int, calls: int) -> None:
        self.fuse.left = calls
        try:
            self.reconcilers[which].run_once()
        except Crash:
            self.reconcilers[which] = self.stage.another(lease_s=1)
        self.fuse.left = None

    @rule(which=st.integers(0, 1))
    def end_well(self, which: int) -> None:
        self.reconcilers[which].close()
        self.reconcilers[which] = self.stage.another(lease_s=1)

    @precondition(lambda self: self.stale)
    @rule()
    def a_zombie_wakes(self) -> None:
        """A reconciler that was suspended goes on with what it had read long ago."""
        self._try(self.stage.another()._advance, self.stale[0])

    @precondition(lambda self: self.seen)
    @rule()
    def a_zombie_looks_after_what_served(self) -> None:
        """The same, as to what serves."""
        another, (service, rollout) = self.stage.another(), self.seen[0]
        going = None if rollout is None else another._contexts.of(rollout)
        self._try(another._drift.reconcile, service, lambda: going)

    # What must hold

    @invariant()
    def weights_are_a_split(self) -> None:
        weights = self.stage.weights
        assert not weights or sum(weights.values()) == 100

    @invariant()
    def one_rollout_at_a_time(self) -> None:
        assert len(self.stage.ledger.rollouts.active()) <= 1

    def _calm_down(self) -> None:
        """The trouble is over: everything answers, requests come, time goes by."""
        stage = self.stage
        stage.router.up, self.memory.broken = True, None
        quiet = 0
        for _ in range(120):
            for name in stage.workloads.servers:
                stage.router.answer(name, 50)
            going = stage.ledger.rollouts.active_of("digits")
            if going is not None and going.phase is Phase.APPROVING:
                self.approve()
            active = [reconciler.run_once() for reconciler in self.reconcilers]
            stage.clock.pass_by(61)
            busy = any(active) or self._unsettled()
            quiet = 0 if busy else quiet + 1
            if quiet == 3:
                return
        raise AssertionError(f"not calm: {stage.ledger.rollouts.active()}, {self._unsettled()}")

    def _unsettled(self) -> list[str]:
        """Isolations that are yet to be shown; of a revision that nobody can take over from, that is for good."""
        serving = self.stage.ledger.revisions.serving()
        left = self.stage.ledger.isolations.unapplied()
        return [f"{one.revision_id} {one.level}" for one in left if one.revision_id not in serving]

    def _is_whole(self) -> None:
        stage = self.stage
        for service in stage.ledger.services.all():
            stable = service.stable_revision
            assert stage.weights == ({stable: 100} if stable else {}), "one stable revision with all of the traffic"
            assert set(stage.workloads.servers) == ({stable} if stable else set()), "no other server"
            assert not stage.workloads.comparers, "nobody compares"
            version = self.memory.versions[stable] if stable else None
            assert self.memory.alias == version, "the alias is on it"
        for rollout in stage.ledger.rollouts.latest(limit=1000):
            self._is_logged(rollout)
        for isolation in stage.ledger.isolations.in_force():
            if isolation.revision_id not in stage.ledger.revisions.serving():
                assert all(one.applied_at for one in stage.ledger.isolations.levels(isolation.revision_id))

    def _is_logged(self, rollout: Rollout) -> None:
        kinds = [event.kind for event in self.stage.ledger.events.select(rollout.id)]
        assert kinds.count("requested") == 1
        if rollout.reason == "it is the stable revision already":
            return
        ends = [kind for kind in kinds if kind in ("promoted", "rolled_back")]
        assert ends == [str(rollout.phase)], kinds


@pytest.mark.timeout(3600)
def test_after_any_storm_the_world_is_whole(ledgers: Ledgers, request: pytest.FixtureRequest) -> None:
    examples = EXAMPLES if "sqlite" in request.node.name else EXAMPLES // 4
    storm = type("Storm", (Storm,), {"ledgers": staticmethod(ledgers)})
    run_state_machine_as_test(
        storm,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
