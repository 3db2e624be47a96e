from types import SimpleNamespace
from typing import Any

import pytest

from bulkhead.control import Control
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.plugins.callbacks import IsolateNotifier, RollBackNotifier
from tests.rollouts import advance, promote, request

OWNER = "airflow:release/run"


def _context(*, task: bool = True, clear_number: int = 0) -> dict[str, Any]:
    run = SimpleNamespace(dag_id="release", run_id="run", clear_number=clear_number)
    ti = SimpleNamespace(task_id="smoke", map_index=-1, max_tries=clear_number)
    return {"dag_run": run, **({"ti": ti} if task else {})}


@pytest.mark.parametrize("task", [True, False])
def test_what_the_run_has_promoted_is_left_again(control: Control, task: bool) -> None:
    old = promote(control.ledger, "old")
    advance(control.ledger, request(control.ledger, "a", owner=OWNER), Phase.PROMOTED)
    for _ in range(2):
        RollBackNotifier("digits")(_context(task=task))
    (returning,) = control.ledger.rollouts.active()
    assert returning.revision_id == old.revision_id


def test_what_the_run_has_in_progress_is_taken_back_with_the_tasks_name(control: Control) -> None:
    rollout = request(control.ledger, "a", owner=OWNER)
    RollBackNotifier("digits", "smoke test failed")(_context())
    assert control.ledger.rollouts.get(rollout.id).reason == "smoke test failed (smoke)"


def test_it_isolates_once_for_each_time_that_the_task_was_cleared(control: Control) -> None:
    promote(control.ledger, "old")
    rollout = request(control.ledger, "a", owner=OWNER)
    for _ in range(2):
        IsolateNotifier("digits")(_context())
    assert [isolation.revision_id for isolation in control.ledger.isolations.in_force()] == [rollout.revision_id]
    control.ledger.isolations.unisolate(rollout.revision_id, Request("r", "mended", "ada"))
    IsolateNotifier("digits")(_context())
    assert control.ledger.isolations.in_force() == []
    IsolateNotifier("digits")(_context(clear_number=1))
    assert len(control.ledger.isolations.in_force()) == 1
