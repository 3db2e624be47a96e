"""What a reconciler leaves behind of what it does: events of what a rollout waits for, and lines of its log."""

import logging
from typing import Any

import pytest
from structlog.contextvars import get_contextvars

from bulkhead.rollout.plan import Plan
from tests.worlds import Stage

PLAN = Plan(steps=(10, 100), step_s=5, min_requests=20, ready_s=60, inconclusive_timeout_s=300, drain_s=10)


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    return Stage(sqlite_url)


def test_what_it_goes_on_waiting_for_is_recorded_ever_more_rarely_with_the_numbers_of_then(stage: Stage) -> None:
    stage.stable()
    rollout = stage.ask("new", PLAN.model_copy(update={"min_requests": 10**9, "inconclusive_timeout_s": 10**6}))
    for _ in range(3600 // 20):
        stage.router.answer(rollout.revision_id, 1)
        stage.reconciler.run_once()
        stage.clock.pass_by(20)
    waited = [
        event
        for event in stage.ledger.events.select(rollout.id, "waiting")
        if event.data["for"] == "hold: min-requests"
    ]
    since = [round((one.at - waited[0].at).total_seconds() / 60) for one in waited]
    assert since == [0, 1, 3, 7, 15, 31]
    assert [bool(one.data.get("still")) for one in waited] == [False, *[True] * 5]
    assert waited[-1].data["why"].startswith("93 of at least 1000000000 requests so far")


def test_what_it_logs_says_what_it_is_about(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, dict[str, Any]]] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.getMessage(), dict(get_contextvars())))

    monkeypatch.setattr(logging.getLogger("bulkhead.rollout"), "handlers", [Heard()])
    monkeypatch.setattr(logging.getLogger("bulkhead.rollout"), "level", logging.INFO)
    stage.stable()
    rollout = stage.ask("new", PLAN)
    stage.reconciler.run_once()
    moved = [about for text, about in lines if text.startswith(f"rollout {rollout.id}: launched -> shifting")]
    about = {"service": "digits", "revision": rollout.revision_id, "rollout": rollout.id, "dag_run": rollout.owner}
    assert moved == [about]
    assert get_contextvars() == {}
