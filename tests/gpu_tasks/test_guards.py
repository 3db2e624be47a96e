"""Guards: a bad step is found and none other, and comes back only to be dropped."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.guards import Guard, GuardAction, GuardPolicy


def _falling(guard: Guard, steps: int, seed: int = 0) -> list[int]:
    """Losses of a sound training, noise and all; the steps that were not taken."""
    noise = random.Random(seed)
    losses = [5.5 * math.exp(-step / 200) + 1 + noise.gauss(0, 0.08) for step in range(steps)]
    return [step for step, loss in enumerate(losses) if guard.check(step, loss).action is not GuardAction.GO_ON]


@given(st.integers(0, 10_000))
def test_no_step_of_a_healthy_training_is_dropped(seed: int) -> None:
    assert _falling(Guard(GuardPolicy()), 400, seed) == []


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_no_number_goes_back_and_is_dropped_when_it_comes_again(loss: float, norm: float) -> None:
    guard = Guard(GuardPolicy())
    found = guard.check(3, loss)
    if found.action is GuardAction.GO_ON:
        found = guard.check_norm(3, norm)
    assert found.action is GuardAction.ROLL_BACK and "step 3" in found.reason
    guard.returned()
    assert guard.check(2, 1.0).action is GuardAction.GO_ON
    again = guard.check(3, loss)
    assert again.action is GuardAction.SKIP and "bad before" in again.reason
    assert guard.check(4, 1.0).action is GuardAction.GO_ON


def test_a_jump_is_dropped_and_does_not_raise_the_bar() -> None:
    guard = Guard(GuardPolicy())
    _falling(guard, 100)
    before = guard.bound()
    found = guard.check(100, 20.0)
    assert found.action is GuardAction.SKIP and "is over" in found.reason
    assert guard.bound() == before
    assert guard.check(101, 4.3).action is GuardAction.GO_ON


def test_no_jump_is_told_before_enough_is_known() -> None:
    guard = Guard(GuardPolicy(least=16))
    for step in range(15):
        guard.check(step, 1.0)
    assert guard.bound() == math.inf
    guard.check(15, 1.0)
    assert guard.bound() == 2.0  # losses that do not vary at all: by the factor alone


def test_too_many_bad_steps_end_it() -> None:
    guard = Guard(GuardPolicy(not_finite=GuardAction.SKIP, most=3))
    actions = [guard.check(step, math.nan).action for step in range(4)]
    assert actions == [GuardAction.SKIP, GuardAction.SKIP, GuardAction.SKIP, GuardAction.STOP]


def test_bad_steps_that_are_far_apart_do_not_add_up() -> None:
    guard = Guard(GuardPolicy(not_finite=GuardAction.SKIP, most=3, window=64))
    assert {guard.check(step * 30, math.nan).action for step in range(20)} == {GuardAction.SKIP}


def test_a_jump_may_be_taken_on_request() -> None:
    guard = Guard(GuardPolicy(spike=GuardAction.GO_ON))
    _falling(guard, 100)
    found = guard.check(100, 50.0)
    assert found.action is GuardAction.GO_ON and "a jump" in found.reason
    assert guard.bad == set()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sigmas": 0}, r"guards\.sigmas = 0"),
        ({"most": 0}, r"guards\.most = 0"),
        ({"least": 65}, r"guards\.least = 65"),
        ({"not_finite": GuardAction.GO_ON}, r"guards\.not_finite = go_on"),
    ],
)
def test_a_policy_that_cannot_be_is_named(wrong: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match=message):
        GuardPolicy(**wrong)
