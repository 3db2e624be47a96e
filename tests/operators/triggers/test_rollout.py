import asyncio
from typing import Any

import pytest

from bulkhead.control import Control
from bulkhead.errors import UnavailableError
from bulkhead.ledger.events import Events
from bulkhead.ledger.rollouts import Rollouts
from bulkhead.ledger.tables import Phase
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.triggers import rollout as module
from bulkhead.operators.triggers.rollout import NoTrafficTrigger, ReleaseTrigger, RolloutTrigger
from tests.rollouts import advance, promote, request
from tests.waiting import PATIENCE_S


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_S", 0.02)


def _trigger(rollout_id: int) -> RolloutTrigger:
    return RolloutTrigger(rollout_id, BulkheadHook.default_conn_name)


async def _first(trigger: RolloutTrigger | NoTrafficTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


def test_it_fires_when_the_rollout_ends_and_not_before(control: Control) -> None:
    rollout = request(control.ledger, "a")

    async def run() -> Any:
        waiting = asyncio.ensure_future(_first(_trigger(rollout.id)))
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
        advance(control.ledger, rollout, Phase.PROMOTED)
        return await asyncio.wait_for(waiting, PATIENCE_S)

    event = asyncio.run(run())
    assert event == {"rollout_id": rollout.id, "after_event": control.ledger.events.select(rollout.id)[-1].id}


@pytest.mark.parametrize(("after", "fires"), [(None, False), (-1, True), (0, False)])
def test_it_fires_for_an_approval_that_is_asked_for_after_a_step(
    control: Control, after: int | None, fires: bool
) -> None:
    rollout = request(control.ledger, "a")
    control.ledger.rollouts.transition(rollout, Phase.APPROVING, "approving", {})
    trigger = RolloutTrigger(rollout.id, BulkheadHook.default_conn_name, after)
    view = module._read_ledger(control)
    assert trigger.event(view) == ({"rollout_id": rollout.id, "after_event": 0} if fires else None)


def test_a_revision_has_left_once_nothing_gives_it_traffic(control: Control) -> None:
    old, new = promote(control.ledger, "old"), request(control.ledger, "new")
    trigger = NoTrafficTrigger(new.revision_id, BulkheadHook.default_conn_name)
    assert trigger.event(module._read_ledger(control)) is None
    turned = control.ledger.rollouts.abort(new, "bad", {})
    assert trigger.event(module._read_ledger(control)) is None
    contained = control.ledger.rollouts.transition(turned, Phase.UNALIASING, "x", {}, contained_at=turned.phase_at)
    assert trigger.event(module._read_ledger(control)) == {"revision": new.revision_id}
    advance(control.ledger, contained, Phase.ROLLED_BACK)
    assert NoTrafficTrigger(old.revision_id, BulkheadHook.default_conn_name).event(module._read_ledger(control)) is None
    assert asyncio.run(asyncio.wait_for(_first(trigger), PATIENCE_S)) == {"revision": new.revision_id}


def test_a_ledger_that_does_not_answer_is_waited_for(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = advance(control.ledger, request(control.ledger, "a"), Phase.PROMOTED)
    answers = iter([UnavailableError("away"), UnavailableError("away"), []])

    def active(_: Rollouts) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Rollouts, "active", active)
    assert asyncio.run(asyncio.wait_for(_first(_trigger(rollout.id)), PATIENCE_S))["rollout_id"] == rollout.id


def test_what_happens_is_in_the_tasks_log_when_it_happens(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = request(control.ledger, "a")
    trigger = RolloutTrigger(
        rollout.id, BulkheadHook.default_conn_name, after_event=control.ledger.events.select()[-1].id
    )
    written: list[str] = []
    monkeypatch.setattr(trigger.log, "info", lambda form, *words: written.append(form % words))

    async def heard(count: int) -> None:
        while len(written) < count:
            await asyncio.sleep(0.01)

    async def run() -> Any:
        waiting = asyncio.ensure_future(_first(trigger))
        moved = control.ledger.rollouts.transition(rollout, Phase.REGISTERED, "registered", {})
        await asyncio.wait_for(heard(1), PATIENCE_S)
        control.ledger.events.append(moved, "approved", {"by": "ada", "step": 0})
        await asyncio.wait_for(heard(2), PATIENCE_S)
        advance(control.ledger, control.ledger.rollouts.abort(moved, "it is bad", {"by": "ada"}), Phase.ROLLED_BACK)
        return await asyncio.wait_for(waiting, PATIENCE_S)

    event = asyncio.run(run())
    assert written[:3] == [
        "Its model is registered.",
        "Step 1 of 2 was approved by ada.",
        "Rolling back, asked for by ada: it is bad.",
    ]
    assert event == {"rollout_id": rollout.id, "after_event": control.ledger.events.select(rollout.id)[-1].id}


def test_a_ledger_that_is_away_while_it_is_read_loses_no_line(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = advance(control.ledger, request(control.ledger, "a"), Phase.PROMOTED)
    view = module._read_ledger(control)

    def away(*_: Any, **__: Any) -> Any:
        raise UnavailableError("the ledger is away")

    trigger = _trigger(rollout.id)
    monkeypatch.setattr(Events, "select", away)
    asyncio.run(trigger.log_events(view))
    assert trigger.event(view) == {"rollout_id": rollout.id, "after_event": 0}  # so that the task itself logs them


def test_when_its_task_is_marked_the_rollout_is_taken_back(control: Control) -> None:
    rollout = request(control.ledger, "a")
    for _ in range(2):
        asyncio.run(ReleaseTrigger(rollout.id, BulkheadHook.default_conn_name).on_kill())
    now = control.ledger.rollouts.get(rollout.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, "its deploy task was marked or cleared in Airflow")
    assert len(control.ledger.events.select(rollout.id, "rollback")) == 1


def test_it_survives_the_triggerers_database() -> None:
    path, arguments = _trigger(7).serialize()
    assert path == "bulkhead.operators.triggers.rollout.RolloutTrigger"
    assert RolloutTrigger(**arguments).serialize() == (path, arguments)
    assert _trigger(7).shared_stream_key() == _trigger(8).shared_stream_key()
