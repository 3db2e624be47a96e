"""What one service meets is its own: whatever a port says or raises, the others' releases and rollbacks go on."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text as sql

from bulkhead.errors import BulkheadError, ConflictError, NotFoundError, RefusedError, UnavailableError
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.pods.status import PodPhase as PodPhase
from bulkhead.pods.status import PodStatus
from bulkhead.rollout.plan import RETURN, Plan
from bulkhead.text import bounded
from tests.fixtures.ledger import Ledgers
from tests.hostile import NASTY, TEXT
from tests.worlds import Stage

PLAN = Plan(steps=(50, 100), step_s=1, min_requests=5, inconclusive_timeout_s=60, drain_s=1, ready_s=60)
ERRORS = (UnavailableError, NotFoundError, RefusedError, ConflictError, ValueError, KeyError, RuntimeError)
EXAMPLES = 200 if os.environ.get("BULKHEAD_NIGHTLY") else 8
PORTS = ("find", "launch", "stop", "drift", "expire", "read", "apply", "counters", "statistics_endpoints", "placement")


class Broken:
    """Passes every call on, but for one method, which raises.

    Attributes: error (that it raises; None: it passes this on too).
    """

    def __init__(self, inner: Any, method: str, error: Exception | None) -> None:
        self._inner, self._method, self.error = inner, method, error

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self.error is not None:
            return self._fail
        return getattr(self._inner, name)

    def _fail(self, *_: Any, **__: Any) -> None:
        assert self.error is not None
        raise self.error


def _break(stage: Stage, service: str, method: str, error: Exception | None) -> list[Broken]:
    """Give a service a site of its own, of which one method raises."""
    router, workloads = (Broken(one, method, error) for one in (stage.router, stage.workloads))
    stage.backends[service] = replace(stage.backend, router=router, metrics=router, workloads=workloads)
    return [router, workloads]


def _go_on(stage: Stage, times: int = 12, seconds: float = 5) -> None:
    for _ in range(times):
        stage.clock.pass_by(seconds)
        for name in list(stage.workloads.servers):
            stage.router.answer(name, 50)
        stage.reconciler.run_once()


def _release(stage: Stage, service: str) -> Rollout:
    """A service that serves, and a second revision on its way."""
    stage.ask(f"{service}-old", RETURN, service)
    stage.reconciler.run_once()
    return stage.ask(f"{service}-new", PLAN, service)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(PORTS), kind=st.sampled_from(ERRORS), text=TEXT)
@example(method="counters", kind=UnavailableError, text="\x1f\x8b\x08\x00\x00")
@example(method="launch", kind=NotFoundError, text="\ud800")
def test_whatever_a_port_raises_stops_no_other_service_and_is_over_when_it_is_over(
    ledgers: Ledgers, method: str, kind: type[Exception], text: str
) -> None:
    with ledgers() as url:
        stage = Stage(url)
        bad, good = _release(stage, "bad"), _release(stage, "good")
        broken = _break(stage, "bad", method, kind(text))
        _go_on(stage)
        assert stage.now(good).phase is Phase.PROMOTED
        for one in broken:
            one.error = None
        _go_on(stage, times=30)
        assert stage.now(bad).phase.ended
        assert stage.ledger.events.failing("bad") == {}
        kept = [event.data for event in stage.ledger.events.select(service="bad")]
        assert len(kept) < 60, "a failure must not fill the ledger"
        stage.reconciler.close()
        stage.ledger.engine.dispose()


@pytest.mark.parametrize("text", NASTY)
def test_a_candidate_that_died_loses_its_traffic_at_once_whatever_it_said(ledger_url: str, text: str) -> None:
    stage = Stage(ledger_url)
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    stage.workloads.servers[rollout.revision_id] = PodStatus(PodPhase.FAILED, message=text)
    stage.clock.pass_by(5)
    stage.reconciler.run_once()
    assert stage.weights == {old: 100}
    reason = stage.now(rollout).reason
    assert reason == bounded(f"the candidate stopped serving: {text or 'its process ended'}")


@pytest.mark.parametrize("text", NASTY)
def test_metrics_that_answer_with_nonsense_cost_the_candidate_its_traffic_in_time(ledger_url: str, text: str) -> None:
    stage = Stage(ledger_url)
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    broken = _break(stage, "digits", "counters", UnavailableError(f"answered 502: {text}"))
    _go_on(stage, times=20)
    assert stage.weights == {old: 100}
    assert broken and stage.now(rollout).decision == {"rule": "unavailable"}


def test_an_error_is_recorded_once_backed_off_and_over_when_it_is_over(
    ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(ledger_url)
    stage.stable()
    broken = _break(stage, "digits", "find", KeyError("bulkhead.dev/port"))
    for _ in range(120):
        stage.reconciler.run_once()
        stage.clock.pass_by(0.5)
    assert stage.ledger.events.failing("digits") == {"looking after what serves": "KeyError: 'bulkhead.dev/port'"}
    assert len(stage.ledger.events.select(kind="failing")) == 1
    assert "Traceback" in caplog.text
    broken[1].error = None
    stage.clock.pass_by(15)
    stage.reconciler.run_once()
    assert stage.ledger.events.failing("digits") == {}
    assert [event.kind for event in stage.ledger.events.select(service="digits")][-2:] == ["failing", "recovered"]


def test_a_text_that_is_another_at_every_look_does_not_fill_the_ledger(ledger_url: str) -> None:
    stage = Stage(ledger_url)
    stage.stable()
    broken = _break(stage, "digits", "find", None)
    for number in range(0, 600, 3):
        broken[1].error = UnavailableError(f"no answer from 10.0.0.1:{number}")
        stage.reconciler.run_once()
        stage.clock.pass_by(3)
    assert 5 <= len(stage.ledger.events.select(kind="failing")) <= 11


def test_what_a_rollout_waits_for_does_not_fill_the_ledger_either(ledger_url: str) -> None:
    stage = Stage(ledger_url)
    stage.stable()
    rollout = stage.ask("new", PLAN.model_copy(update={"inconclusive_timeout_s": 3600}))
    stage.reconciler.run_once()
    broken = _break(stage, "digits", "counters", None)
    for number in range(0, 600, 3):
        broken[0].error = UnavailableError(f"no answer from 10.0.0.1:{number}")
        stage.reconciler.run_once()
        stage.clock.pass_by(3)
    assert 20 <= len(stage.ledger.events.select(rollout.id, "waiting")) <= 31


def test_a_failure_that_an_earlier_process_recorded_is_over_too(ledger_url: str) -> None:
    stage = Stage(ledger_url)
    stage.stable()
    broken = _break(stage, "digits", "find", RefusedError("forbidden"))
    stage.reconciler.run_once()
    assert stage.ledger.events.failing("digits") == {"looking after what serves": "forbidden"}
    stage.reconciler.close()
    broken[1].error = None
    stage.another().run_once()
    assert stage.ledger.events.failing("digits") == {}


@pytest.mark.parametrize("plan", ["{}", '{"steps": [{"weight": 7}]}', '{"new": "field"}', '[1, "x"]', '"x"'])
def test_a_plan_that_cannot_be_read_keeps_no_traffic_where_it_is(ledger_url: str, plan: str) -> None:
    """Of another version, or of a backup that was mended by hand."""
    stage = Stage(ledger_url)
    old = stage.stable()
    rollout = stage.ask("new", PLAN)
    good = stage.ask("good", RETURN, "good")
    stage.reconciler.run_once()
    assert stage.weights.get(rollout.revision_id) == 50
    with stage.ledger.engine.begin() as connection:
        connection.execute(sql("UPDATE rollouts SET plan = :plan WHERE id = :id"), {"plan": plan, "id": rollout.id})
    _go_on(stage, times=10)
    assert stage.now(good).phase is Phase.PROMOTED
    if plan == "{}":  # the defaults are a plan
        assert stage.now(rollout).phase is not Phase.ROLLED_BACK
    else:
        assert stage.now(rollout).phase is Phase.ROLLED_BACK
        assert stage.weights == {old: 100}


def test_an_isolation_that_cannot_be_shown_keeps_no_other_waiting(ledger_url: str) -> None:
    stage = Stage(ledger_url)
    bad, good = _release(stage, "bad"), _release(stage, "good")
    _go_on(stage, times=3)
    _break(stage, "bad", "orphan", TypeError("'NoneType' object is not iterable"))
    for rollout in (bad, good):
        request = Request(f"i{rollout.id}", "it leaks \x00", "a test")
        stage.ledger.rollouts.request_rollback(Request(f"r{rollout.id}", "x", "x"), rollout_id=rollout.id)
        stage.ledger.isolations.isolate(
            rollout.revision_id, request, levels=(IsolationLevel.TRAFFIC, IsolationLevel.POD)
        )
    _go_on(stage)
    applied = {
        isolation.level: isolation.applied_at is not None
        for isolation in stage.ledger.isolations.levels(good.revision_id)
    }
    assert applied == {IsolationLevel.TRAFFIC: True, IsolationLevel.POD: True}
    assert "TypeError" in stage.ledger.events.failing("bad")[f"pod of isolated {bad.revision_id}"]
    assert stage.ledger.events.failing("good") == {}


def test_a_ledger_that_is_away_ends_the_pass_and_is_nobodys_failure(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(ledger_url)
    stage.stable()

    def away(*_: Any) -> Iterator[None]:
        raise UnavailableError("the ledger does not answer")

    _break(stage, "digits", "find", UnavailableError("nor does the cluster"))
    with monkeypatch.context() as patch:
        patch.setattr(stage.ledger, "ping", away)
        with pytest.raises(BulkheadError, match="the ledger does not answer"):
            stage.reconciler.run_once()
    assert stage.ledger.events.failing("digits") == {}
