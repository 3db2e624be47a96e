"""The guard of a service, over a router and a ledger that really are there."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bulkhead.control import Control
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.metrics.counters import Counters
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.triggers.serving import Served, ServingTrigger
from tests.rollouts import promote, request

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def _trigger(revision: str, **more: Any) -> ServingTrigger:
    arguments = {
        "service": "digits",
        "revision": revision,
        "objective": 0.99,
        "until": (BEGIN + timedelta(seconds=720)).isoformat(),
        "length_s": 720.0,
        "min_failures": 10,
        "on_breach": "roll-back",
        "key": "guard/1",
        "requested_by": "a test",
        "bulkhead_conn_id": BulkheadHook.default_conn_name,
    }
    return ServingTrigger(**{**arguments, **more})


def _watch(trigger: ServingTrigger, failing: float, *, serving: bool = True) -> dict[str, Any]:
    """A reading a second, 100 requests in each, of which a share fails from the 30th second on."""

    async def readings() -> Any:
        failures = 0
        for second in range(2000):
            failures += round(100 * failing) if second >= 30 else 0
            counters = {trigger.revision: Counters(100 * second, failures)}
            seen = frozenset({trigger.revision} if serving or second < 50 else ())
            yield Served(BEGIN + timedelta(seconds=second), counters, seen)

    async def first() -> dict[str, Any]:
        async for event in trigger.filter_shared_stream(readings()):
            return dict(event.payload)
        raise AssertionError("the guard ended without an event")

    return asyncio.run(first())


@pytest.fixture
def new(control: Control) -> Rollout:
    promote(control.ledger, "old")
    return promote(control.ledger, "new")


def test_an_objective_that_is_kept_ends_the_guard_in_time(control: Control, new: Rollout) -> None:
    assert _watch(_trigger(new.revision_id), 0.0)["result"] == "kept"
    assert control.ledger.rollouts.active() == []


def test_an_outage_returns_to_the_revision_before_without_any_worker(control: Control, new: Rollout) -> None:
    event = _watch(_trigger(new.revision_id), 1.0)
    assert event["result"] == "breached" and "the error budget of 99.000% burns" in event["reason"]
    (returning,) = control.ledger.rollouts.active()
    assert (returning.revision_id, returning.stable_id) == (new.stable_id, new.revision_id)


def test_the_same_guard_fires_once_whatever_restarts(control: Control, new: Rollout) -> None:
    _watch(_trigger(new.revision_id), 1.0)
    _watch(_trigger(new.revision_id), 1.0)
    assert len(control.ledger.rollouts.latest()) == 3


@pytest.mark.parametrize("on_breach", ["roll-back", "isolate"])
def test_a_guard_that_is_restarted_after_it_has_acted_still_says_so(
    control: Control, new: Rollout, on_breach: str
) -> None:
    said = _watch(_trigger(new.revision_id, on_breach=on_breach), 1.0)
    assert said["result"] == "breached"
    assert _watch(_trigger(new.revision_id, on_breach=on_breach), 0.0, serving=False) == said
    assert _watch(_trigger(new.revision_id, on_breach=on_breach), 0.0) == said
    assert _watch(_trigger(new.revision_id, key="guard/2"), 0.0, serving=False)["result"] == "left"


def test_a_candidate_in_its_bake_is_taken_back(control: Control, new: Rollout) -> None:
    candidate = request(control.ledger, "newer")
    _watch(_trigger(candidate.revision_id), 1.0)
    assert control.ledger.rollouts.get(candidate.id).phase is Phase.RESTORING


def test_it_can_isolate_or_only_fail(control: Control, new: Rollout) -> None:
    assert _watch(_trigger(new.revision_id, on_breach="fail"), 1.0)["result"] == "breached"
    assert control.ledger.rollouts.active() == [] and control.ledger.isolations.in_force() == []
    _watch(_trigger(new.revision_id, on_breach="isolate"), 1.0)
    assert [isolation.revision_id for isolation in control.ledger.isolations.in_force()] == [new.revision_id]


def test_where_nothing_is_left_to_return_to_it_says_so(control: Control) -> None:
    only = promote(control.ledger, "only")
    event = _watch(_trigger(only.revision_id), 1.0)
    assert "it cannot be contained: service 'digits' has no earlier revision" in event["reason"]


def test_a_revision_that_was_replaced_needs_no_guard(control: Control, new: Rollout) -> None:
    assert _watch(_trigger(new.revision_id), 0.0, serving=False)["result"] == "left"


def test_it_survives_the_triggerers_database() -> None:
    path, arguments = _trigger("digits-1").serialize()
    assert path == "bulkhead.operators.triggers.serving.ServingTrigger"
    assert ServingTrigger(**arguments).serialize() == (path, arguments)
    assert _trigger("a").shared_stream_key() == _trigger("b").shared_stream_key()
