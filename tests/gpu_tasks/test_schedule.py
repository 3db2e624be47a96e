"""The learning rate by step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.schedule import Schedule


def test_it_warms_up_and_falls_to_its_floor() -> None:
    schedule = Schedule(peak=1.0, steps=110, warmup=10, floor=0.1)
    assert [schedule.rate(step) for step in (1, 5, 10)] == [0.1, 0.5, 1.0]
    assert schedule.rate(60) == pytest.approx(0.55)
    assert schedule.rate(110) == pytest.approx(0.1)
    assert schedule.rate(500) == pytest.approx(0.1)


@given(st.integers(1, 300), st.floats(0, 1), st.data())
def test_it_rises_then_falls_and_stays_within_bounds(steps: int, floor: float, data: st.DataObject) -> None:
    schedule = Schedule(0.01, steps, data.draw(st.integers(0, steps - 1)), floor)
    rates = [schedule.rate(step) for step in range(1, steps + 1)]
    top = max(0, schedule.warmup - 1)
    assert rates[:top] == sorted(rates[:top])
    assert all(one >= other - 1e-12 for one, other in zip(rates[top:], rates[top + 1 :], strict=False))
    assert all(0 <= rate <= 0.01 + 1e-12 for rate in rates)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"peak": 0.0}, "learning_rate = 0"),
        ({"peak": float("nan")}, "learning_rate = nan"),
        ({"steps": 0}, "steps = 0"),
        ({"warmup": 10}, "warmup = 10"),
        ({"floor": 1.5}, "floor = 1.5"),
    ],
)
def test_one_that_cannot_be_is_named(wrong: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match=message):
        Schedule(**{"peak": 1.0, "steps": 10, **wrong})
