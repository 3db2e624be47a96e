import asyncio
from typing import Any

import pytest

from bulkhead.control import Control
from bulkhead.errors import UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase
from operators.hooks import BulkheadHook
from operators.triggers import rollout as module
from operators.triggers.rollout import RolloutTrigger
from tests.rollouts import advance, request


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.02)


def _trigger(rollout_id: int) -> RolloutTrigger:
    return RolloutTrigger(rollout_id, BulkheadHook.default_conn_name)


async def _first(trigger: RolloutTrigger) -> Any:
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
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(run()) == {"rollout_id": rollout.id}


def test_a_ledger_that_does_not_answer_is_waited_for(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = advance(control.ledger, request(control.ledger, "a"), Phase.PROMOTED)
    answers = iter([UnavailableError("away"), UnavailableError("away"), []])

    def active(_: Ledger) -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Ledger, "active_rollouts", active)
    assert asyncio.run(asyncio.wait_for(_first(_trigger(rollout.id)), 10)) == {"rollout_id": rollout.id}


def test_when_its_task_is_marked_the_rollout_is_taken_back(control: Control) -> None:
    rollout = request(control.ledger, "a")
    for _ in range(2):
        asyncio.run(_trigger(rollout.id).on_kill())
    now = control.ledger.rollout(rollout.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, "its deploy task was marked or cleared in Airflow")
    assert len(control.ledger.events(rollout.id, "rollback")) == 1


def test_it_survives_the_triggerers_database() -> None:
    path, arguments = _trigger(7).serialize()
    assert path == "operators.triggers.rollout.RolloutTrigger"
    assert RolloutTrigger(**arguments).serialize() == (path, arguments)
    assert _trigger(7).shared_stream_key() == _trigger(8).shared_stream_key()
