"""How often a release is measured for its picture, what of it is kept, and that a verdict never waits for it."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.ledger.measurements import Measurements
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import RETURN, parse_plan
from tests.worlds import Stage


@pytest.fixture
def stage(sqlite_url: str) -> Stage:
    stage = Stage(sqlite_url)
    stage.ask("old", RETURN)
    stage.reconciler.run_once()
    return stage


def _new(stage: Stage, **plan: Any) -> Rollout:
    rollout = stage.ask("new", parse_plan({"steps": [10, 100], "step_s": 900, **plan}))
    stage.reconciler.run_once()
    return rollout


def _answer(stage: Stage, rollout: Rollout, seconds: float, failures: int = 0) -> None:
    stage.clock.pass_by(seconds)
    stage.router.answer(rollout.revision_id, 10, failures)
    stage.reconciler.run_once()


def test_it_is_measured_often_at_first_and_more_seldom_later(stage: Stage) -> None:
    rollout = _new(stage)
    for _ in range(800):
        _answer(stage, rollout, 1)
    windows = [measured.numbers["window_s"] for measured in stage.ledger.measurements.of(rollout.id)]
    between = [later - earlier for earlier, later in pairwise(windows)]
    assert min(between) == between[0] == 2 and max(between) in (20, 21)
    assert 80 < len(windows) < 160
    last = stage.ledger.measurements.of(rollout.id)[-1]
    assert (last.step, last.numbers["candidate"]["failures"]) == (0, 0)
    assert last.numbers["candidate"]["requests"] > 7_000 and last.numbers["evidence"]["errors"] == 0


def test_each_step_is_measured_from_its_beginning(stage: Stage) -> None:
    rollout = _new(stage, step_s=30)
    for _ in range(70):
        _answer(stage, rollout, 1)
    steps = [measured.step for measured in stage.ledger.measurements.of(rollout.id)]
    assert set(steps) == {0, 1} and steps == sorted(steps)
    assert min(measured.numbers["window_s"] for measured in stage.ledger.measurements.of(rollout.id)[-3:]) > 2


def test_a_measurement_that_cannot_be_kept_holds_no_verdict_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise UnavailableError("the disk is full")

    monkeypatch.setattr(Measurements, "append", away)
    monkeypatch.setattr(Measurements, "drop_old", away)
    rollout = _new(stage)
    _answer(stage, rollout, 3, failures=10)
    _answer(stage, rollout, 3, failures=10)
    assert stage.now(rollout).phase is Phase.ROLLED_BACK


def test_what_is_remembered_of_a_rollout_goes_with_it(stage: Stage) -> None:
    rollout = _new(stage)
    _answer(stage, rollout, 3)
    analysis = stage.reconciler._analysis
    memories: list[Mapping[Any, Any]] = [
        analysis._readings,
        analysis._tallies,
        analysis._faults,
        analysis.recorder._latest,
        stage.reconciler._waiting._latest,
    ]
    assert all(memories)
    for _ in range(4):
        _answer(stage, rollout, 3, failures=10)
    assert stage.now(rollout).phase is Phase.ROLLED_BACK
    memories[3] = analysis.recorder._latest
    assert not any(memories)
