import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.rollout.analysis import Arm, Verdict, arm, exceeds, judge
from bulkhead.rollout.plan import RETURN, Plan
from bulkhead.routers.base import Counters

PLAN = Plan(step_s=5, min_requests=20, max_error_rate=0.01, latency_ms=250, max_slow_rate=0.05, alpha=0.001)
WELL = Arm(requests=200, failures=0, timed=200, slow=0)


def _verdict(candidate: Arm | None, stable: Arm | None = WELL, elapsed_s: float = 10) -> tuple[Verdict, str]:
    found = judge(PLAN, candidate, stable, elapsed_s)
    return found.verdict, found.rule


@pytest.mark.parametrize(
    ("candidate", "stable", "elapsed_s", "expected"),
    [
        (WELL, WELL, 10, (Verdict.PASS, "within-limits")),
        (WELL, None, 10, (Verdict.PASS, "within-limits")),
        (None, WELL, 10, (Verdict.HOLD, "no-data")),
        (Arm(0, 0, 0, 0), WELL, 10, (Verdict.HOLD, "min-requests")),
        (Arm(19, 0, 19, 0), WELL, 10, (Verdict.HOLD, "min-requests")),
        (WELL, WELL, 4.9, (Verdict.HOLD, "min-time")),
        (Arm(200, 50, 200, 0), WELL, 0.5, (Verdict.FAIL, "errors")),
        (Arm(5, 5, 5, 0), WELL, 0.5, (Verdict.FAIL, "errors")),
        (Arm(200, 0, 200, 100), WELL, 0.5, (Verdict.FAIL, "latency")),
        (Arm(200, 50, 200, 0), Arm(200, 60, 200, 0), 10, (Verdict.HOLD, "stable-fails-too")),
        (Arm(200, 50, 200, 0), None, 10, (Verdict.FAIL, "errors")),
        (Arm(50, 1, 50, 0), WELL, 10, (Verdict.HOLD, "errors-unclear")),
        (Arm(40, 0, 40, 3), WELL, 10, (Verdict.HOLD, "latency-unclear")),
    ],
)
def test_verdicts(candidate: Arm | None, stable: Arm | None, elapsed_s: float, expected: tuple[Verdict, str]) -> None:
    assert _verdict(candidate, stable, elapsed_s) == expected


def test_one_failure_among_few_requests_is_not_enough_to_fail() -> None:
    assert _verdict(Arm(3, 1, 3, 0))[0] is Verdict.HOLD


def test_the_reason_names_the_numbers() -> None:
    found = judge(PLAN, Arm(12, 3, 12, 0), WELL, 3.2)
    assert found.reason == "3 of 12 (25.0%) requests failed, limit 1.0%"
    assert found.numbers["candidate"]["failures"] == 3
    assert found.numbers["window_s"] == 3.2


def test_going_back_is_not_judged() -> None:
    assert judge(RETURN, None, None, 0).verdict is Verdict.PASS


@given(
    st.integers(0, 10_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.none() | st.builds(Arm, st.integers(0, 99), st.just(0), st.integers(0, 99), st.just(0)),
    st.floats(0, 1e6),
)
def test_no_traffic_and_too_little_of_it_neither_pass_nor_fail(
    requests: int, failing: float, slow: float, stable: Arm | None, elapsed_s: float
) -> None:
    seen = Arm(requests, int(requests * failing), requests, int(requests * slow))
    verdict, _ = _verdict(seen, stable, elapsed_s)
    if requests == 0:
        assert verdict is Verdict.HOLD
    if requests < PLAN.min_requests:
        assert verdict is not Verdict.PASS


@given(st.integers(1, 5000), st.integers(0, 5000), st.floats(0.001, 0.5))
def test_a_share_within_its_limit_never_exceeds_it(trials: int, events: int, limit: float) -> None:
    if events <= trials * limit:
        assert not exceeds(events, trials, limit, 0.001)


def test_at_one_look_a_healthy_candidate_fails_less_often_than_alpha() -> None:
    rng = random.Random(1)
    looks = [
        exceeds(sum(rng.random() < PLAN.max_error_rate for _ in range(n)), n, PLAN.max_error_rate, 0.05)
        for n in (20, 50, 100, 200) * 500
    ]
    assert sum(looks) / len(looks) <= 0.05


def test_the_bound_is_the_one_of_the_paper() -> None:
    # Hoeffding 1963, theorem 1: n * KL(0.25 || 0.01) >= ln(1/alpha), by hand.
    entropy = 0.25 * math.log(25) + 0.75 * math.log(0.75 / 0.99)
    need = math.ceil(-math.log(0.001) / entropy / 4) * 4
    assert exceeds(need // 4, need, 0.01, 0.001)
    assert not exceeds((need - 4) // 4, need - 4, 0.01, 0.001)


# Counters


def test_an_arm_is_the_difference_of_two_readings() -> None:
    before = Counters(100, 2, {250.0: 90, 500.0: 98, math.inf: 100})
    after = Counters(150, 5, {250.0: 120, 500.0: 140, math.inf: 150})
    assert arm(before, after, 250) == Arm(requests=50, failures=3, timed=50, slow=20)


def test_the_first_bound_not_below_the_latency_counts() -> None:
    after = Counters(10, 0, {250.0: 5, 500.0: 9, math.inf: 10})
    found = arm(Counters(), after, 300)
    assert found is not None and found.slow == 1


def test_a_counter_that_fell_was_reset_and_says_nothing() -> None:
    assert arm(Counters(100, 0, {math.inf: 100}), Counters(3, 0, {math.inf: 3}), 250) is None


def test_a_histogram_that_lags_behind_the_counters_is_no_slow_request() -> None:
    found = arm(Counters(), Counters(10, 0, {}), 250)
    assert found == Arm(requests=10, failures=0, timed=0, slow=0)
