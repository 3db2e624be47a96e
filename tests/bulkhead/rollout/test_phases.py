"""The state machine, as a table and as a property: whatever happens, it ends, and the same way on every path."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.ledger.tables import Phase
from bulkhead.rollout.phases import PHASES, following
from bulkhead.rollout.plan import Plan, Step


def test_every_phase_that_has_not_ended_has_one_handler() -> None:
    assert len({row.handler for row in PHASES.values()}) == len(PHASES)
    assert set(PHASES) == {phase for phase in Phase if not phase.ended}


def test_the_way_forward() -> None:
    path, phase, step = [], Phase.REQUESTED, 0
    while not phase.ended:
        path.append((phase, step))
        phase, step = following(phase, step, Plan(steps=(50, 100)))
    assert [str(phase) for phase, _ in path] == [
        "requested",
        "registered",
        "launched",
        "shifting",
        "analysing",
        "shifting",
        "analysing",
        "promoting",
        "baking",
        "retiring",
    ]
    assert (phase, step) == (Phase.PROMOTED, 1)


def test_the_way_back() -> None:
    path, phase = [], Phase.RESTORING
    while not phase.ended:
        path.append(str(phase))
        phase, _ = following(phase, 0, Plan(steps=(50, 100)))
    assert path == ["restoring", "unaliasing", "draining"]
    assert phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("phase", list(Phase))
def test_the_properties_of_phases_agree(phase: Phase) -> None:
    assert not phase.returning or phase.settled
    assert not phase.ended or phase.settled


@given(
    asked=st.lists(st.booleans(), min_size=1, max_size=6),
    turn_at=st.none() | st.integers(0, 30),
    skip_at=st.none() | st.integers(0, 30),
)
def test_whatever_happens_it_comes_to_an_end(asked: list[bool], turn_at: int | None, skip_at: int | None) -> None:
    steps = len(asked)
    weights = [*range(1, steps), 100]
    plan = Plan(steps=tuple(Step(weight=weight, approve=ask) for weight, ask in zip(weights, asked, strict=True)))
    phase, step, turned = Phase.REQUESTED, 0, False
    for moves in itertools.count():
        if phase.ended:
            break
        if moves == turn_at and not phase.settled:
            phase, turned = Phase.RESTORING, True
        before, skips = step, skip_at is not None and moves >= skip_at and phase.at_step and step + 1 < steps
        phase, step = following(phase, step, plan, steps - 1 if skips else None)
        assert step in ((steps - 1,) if skips else (before, before + 1)) and step < steps
        assert moves <= 3 * steps + 9
    assert phase is (Phase.ROLLED_BACK if turned else Phase.PROMOTED)
    assert turned or step == steps - 1
