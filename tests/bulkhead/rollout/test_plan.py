from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.errors import InvalidInputError
from bulkhead.rollout.plan import RETURN, Plan, Step, first_release, parse_plan


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"steps": [10, 10, 100]}, "plan.steps = [10, 10, 100]: two steps one after the other are the same"),
        ({"steps": [50, 10, 100]}, "plan.steps = [50, 10, 100]: give weights that do not fall"),
        ({"steps": [0, 100]}, "the candidate gets no request here: give a weight, mirror, headers or approve"),
        ({"steps": []}, "plan.steps = []"),
        ({"steps": [10, 50]}, "plan.steps = [10, 50]: the last step must have weight 100"),
        ({"steps": [10, 110]}, "plan.steps.1.weight = 110"),
        ({"steps": "all"}, "plan.steps"),
        ({"steps": [{"mirror": 50, "weight": 10}, 100]}, "a step that mirrors has weight 0 and no headers"),
        ({"steps": [{"weight": 100, "headers": {"x-a": "b"}}]}, "leave the headers out"),
        ({"steps": [{"mirror": 50, "approvee": True}, 100]}, "plan.steps.0.approvee = True"),
        ({"on_insufficient_data": "hope"}, "plan.on_insufficient_data = 'hope'"),
        ({"objective": 1.0}, "plan.objective = 1.0"),
        ({"min_requests": 0}, "plan.min_requests = 0"),
        ({"max_error_rate": 1.5}, "plan.max_error_rate = 1.5"),
        ({"alpha": 0.5}, "plan.alpha = 0.5"),
        ({"latency_ms": float("nan")}, "plan.latency_ms = nan"),
        ({"progress_deadline_s": float("inf")}, "plan.progress_deadline_s = inf"),
        ({"truth": {"f1": {"at_least": float("nan")}}}, "plan.truth.f1.at_least = nan"),
        ({"truth": {"f1": {"at_least": "NaN"}}}, "plan.truth.f1.at_least = 'NaN'"),
        ({"steps": [{"headers": {"": "x"}, "approve": True}, 100]}, "'' is no name of an HTTP header"),
        ({"steps": [{"headers": {"x:p": "x"}, "approve": True}, 100]}, "'x:p' is no name of an HTTP header"),
        ({"steps": [{"headers": {"ü": "x"}, "approve": True}, 100]}, "'ü' is no name of an HTTP header"),
        ({"steps": [{"headers": {"x-a": "b\r\nc: d"}, "approve": True}, 100]}, "the value of header 'x-a' has to be"),
        ({"steps": [{"headers": {"x-a": ""}, "approve": True}, 100]}, "the value of header 'x-a' has to be"),
        ({"steps": [{"headers": {"X-A": "b", "x-a": "c"}}, 100]}, "the same in upper and lower case"),
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
def test_bare_weights_are_accepted_exactly_when_they_rise_to_100(weights: list[int]) -> None:
    rises = bool(weights) and weights[0] >= 1 and all(a < b for a, b in pairwise(weights)) and weights[-1] == 100
    try:
        parse_plan({"steps": weights})
    except InvalidInputError:
        assert not rises
    else:
        assert rises


def test_it_survives_the_ledger() -> None:
    plan = Plan(steps=(5, 100), alpha=0.01)
    assert parse_plan(plan.model_dump(mode="json")) == plan


def test_going_back_is_one_step_without_judgement() -> None:
    assert [step.weight for step in RETURN.steps] == [100] and not RETURN.judged


def test_blue_green_is_a_try_beside_stable_then_everything_at_once() -> None:
    plan = parse_plan({"steps": [{"headers": {"x-preview": "1"}, "approve": True}, 100], "bake_s": 600})
    assert (plan.approvals, plan.steps[0].exposes, plan.bake_s) == (1, True, 600)


def test_a_step_may_take_its_own_time() -> None:
    plan = parse_plan(
        {"steps": [{"weight": 5, "step_s": 0, "inconclusive_timeout_s": 9}, 100], "step_s": 60, "bake_s": 30}
    )
    first, last = plan.steps
    assert (plan.step_s_of(first), plan.inconclusive_timeout_s_of(first)) == (0, 9)
    assert (plan.step_s_of(last), plan.inconclusive_timeout_s_of(last)) == (60, 900)
    assert plan.length_s == 90


def test_a_first_release_has_nobody_to_share_with_but_still_asks() -> None:
    plan = parse_plan({"steps": [{"weight": 5, "approve": True}, 100], "max_error_rate": 0.2})
    assert first_release(plan).steps == (Step(weight=100, approve=True),)
    assert first_release(plan).max_error_rate == 0.2
