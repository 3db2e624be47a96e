import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from bulkhead.control import Control
from bulkhead.errors import ConflictError, InvalidInputError, UnavailableError
from bulkhead.ledger.tables import Phase
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.insistence import ainsist, insist
from bulkhead.operators.triggers.rollout import ReleaseTrigger
from bulkhead.plugins import endings
from bulkhead.plugins.callbacks import IsolateNotifier, RollBackNotifier
from bulkhead.plugins.deadlines import isolate_late, roll_back_late
from tests.rollouts import request

OWNER = "airflow:release/run"

Insist = Callable[..., Any]


def _ainsist(*arguments: Any) -> Any:
    return asyncio.run(ainsist(*arguments))


@pytest.fixture(params=[insist, _ainsist], ids=["insist", "ainsist"])
def insisting(request: pytest.FixtureRequest) -> Insist:
    return request.param


@pytest.mark.parametrize("error", [UnavailableError("busy"), OperationalError("", {}, Exception("locked"))])
def test_it_tries_again_until_it_is_done(insisting: Insist, error: Exception, no_waiting: None) -> None:
    answers = iter([error, error, 7])

    def act() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert insisting(act) == 7


@pytest.mark.parametrize("error", [InvalidInputError("f", 1, "r"), ConflictError("c"), KeyError("k")])
def test_what_another_try_does_not_mend_is_raised_at_once(insisting: Insist, error: Exception) -> None:
    tries = []

    def act() -> None:
        tries.append(1)
        raise error

    with pytest.raises(type(error)):
        insisting(act)
    assert tries == [1]


def test_it_gives_up_with_the_errors_own_type_when_its_patience_is_over(insisting: Insist, no_waiting: None) -> None:
    def act() -> None:
        raise UnavailableError("busy")

    with pytest.raises(UnavailableError, match="busy"):
        insisting(act, timedelta(seconds=0.01))


RUN = {"dag_id": "release", "dag_run_id": "run", "state": "running"}
LATE = {"dag_run": RUN, "deadline": {"id": "d1", "deadline_time": "2026-11-24T10:00:00Z"}}
FAILED = {"dag_run": SimpleNamespace(dag_id="release", run_id="run", clear_number=0)}
CONNECTION = BulkheadHook.default_conn_name

ONCE: dict[str, Callable[[], object]] = {
    "the listener": lambda: endings.end_run("release", "run"),
    "a deadline that rolls back": lambda: asyncio.run(roll_back_late(None, "late", CONNECTION, LATE)),
    "a deadline that isolates": lambda: asyncio.run(isolate_late("digits", "late", CONNECTION, LATE)),
    "a notifier that rolls back": lambda: RollBackNotifier("digits")(FAILED),
    "a notifier that isolates": lambda: IsolateNotifier("digits")(FAILED),
    "a trigger's on_kill": lambda: asyncio.run(ReleaseTrigger(1, CONNECTION).on_kill()),
}


@pytest.mark.parametrize("way", ONCE)
def test_a_busy_ledger_loses_nothing_of_what_airflow_calls_once(
    control: Control, busy_once: Callable[[], Callable[[], bool]], way: str
) -> None:
    rollout = request(control.ledger, "a", owner=OWNER)
    assert rollout.id == 1
    was_busy = busy_once()
    ONCE[way]()
    assert was_busy()
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.RESTORING
