from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.errors import InvalidInputError
from bulkhead.rollout.plan import RETURN, Plan, parse_plan


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"weights": [10, 10, 100]}, "plan.weights = [10, 10, 100]: give percentages that rise"),
        ({"weights": [50, 10, 100]}, "plan.weights"),
        ({"weights": [0, 100]}, "the first at least 1"),
        ({"weights": []}, "plan.weights = []"),
        ({"weights": [10, 50]}, "plan.weights = [10, 50]: the last step must be 100"),
        ({"weights": [10, 110]}, "the last step must be 100"),
        ({"weights": "all"}, "plan.weights"),
        ({"min_requests": 0}, "plan.min_requests = 0"),
        ({"max_error_rate": 1.5}, "plan.max_error_rate = 1.5"),
        ({"alpha": 0.5}, "plan.alpha = 0.5"),
        ({"latency_ms": float("nan")}, "plan.latency_ms = nan"),
        ({"step_s": -1}, "plan.step_s = -1"),
        ({"wieghts": [100]}, "plan.wieghts = [100]"),
    ],
)
def test_bad_input_names_the_field_the_value_and_the_remedy(data: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_plan(data)
    assert named in str(caught.value)


def test_what_is_missing_takes_its_default() -> None:
    assert parse_plan({}) == Plan()


def test_numbers_may_come_as_text_as_templates_give_them() -> None:
    assert parse_plan({"min_requests": "50"}).min_requests == 50


@given(st.lists(st.integers(-50, 150), max_size=6))
def test_weights_are_accepted_exactly_when_they_rise_to_100(weights: list[int]) -> None:
    rises = bool(weights) and weights[0] >= 1 and all(a < b for a, b in pairwise(weights)) and weights[-1] == 100
    try:
        parse_plan({"weights": weights})
    except InvalidInputError:
        assert not rises
    else:
        assert rises


def test_it_survives_the_ledger() -> None:
    plan = Plan(weights=(5, 100), alpha=0.01)
    assert parse_plan(plan.model_dump(mode="json")) == plan


def test_going_back_is_one_step_without_judgement() -> None:
    assert RETURN.weights == (100,) and not RETURN.judged
