"""Each rule over requests at its edges: what is exactly the limit, and what is said of it."""

import math

import pytest

from bulkhead.metrics.counters import Answers
from bulkhead.rollout.analysis.arms import Arm
from bulkhead.rollout.analysis.requests import (
    errors,
    latency,
    more_client_errors,
    more_errors,
    slower,
    split_as_planned,
)
from bulkhead.rollout.analysis.sequential import label_above, share_above
from bulkhead.rollout.plan import Plan

PLAN = Plan(
    min_requests=20, max_error_rate=0.01, latency_ms=250, max_slow_rate=0.05, latency_floor_ms=100, min_effect=0.02
)


def _requests(requests: int, failures: int = 0) -> Arm:
    return Arm(requests, failures, requests, 0)


@pytest.mark.parametrize(("failures", "over"), [(1, False), (2, True)])
def test_a_share_of_failures_that_is_the_limit_is_not_over_it(failures: int, over: bool) -> None:
    found = errors(PLAN, _requests(100, failures), None)
    assert (found.rule, found.over, found.shared) == ("errors", over, "")
    assert found.strength == share_above(failures, 100, 0.01)


@pytest.mark.parametrize(("slow", "over"), [(5, False), (6, True)])
def test_a_share_of_slow_requests_that_is_the_limit_is_not_over_it(slow: int, over: bool) -> None:
    found = latency(PLAN, Arm(200, 0, 100, slow), None)
    assert (found.rule, found.over, found.shared) == ("latency", over, "")
    assert found.strength == share_above(slow, 100, 0.05)
    assert found.reason == f"{slow} of 100 ({slow}.0%) requests took over 250 ms, limit 5%"


@pytest.mark.parametrize(("theirs", "shared"), [(2, False), (3, True)])
def test_stable_is_asked_more_leniently(theirs: int, shared: bool) -> None:
    """At one in twenty: what is not enough against the candidate is enough to excuse it."""
    assert (share_above(theirs, 20, 0.01) >= math.log(20)) is shared
    found = errors(PLAN, _requests(20, 9), _requests(20, theirs))
    message = f"{theirs} of 20 ({theirs * 5}.0%) requests failed, limit 1.0%"
    assert found.shared == (message if shared else "")
    assert errors(PLAN, _requests(20, 9), _requests(29, 3)).shared  # exp(3.02) to one
    slow = latency(PLAN, Arm(20, 0, 20, 20), Arm(20, 0, 20, 20))
    assert slow.shared == "20 of 20 (100.0%) requests took over 250 ms, limit 5%"


def test_failures_are_held_against_stables_by_whose_they_are() -> None:
    plan = PLAN.model_copy(update={"max_ratio": 2.0})
    found = more_errors(plan, 0.2, _requests(100, 30), _requests(400, 4))
    assert (found.rule, found.strength) == ("more-errors", label_above(30, 4, 0.2, 2.0))
    assert found.reason == "30 of 100 (30.0%) requests failed, of stable's 4 of 400 (1.0%)"


@pytest.mark.parametrize(("ours", "matters"), [(1, False), (2, True)])
def test_a_difference_as_large_as_the_least_that_matters_matters(ours: int, matters: bool) -> None:
    found = more_errors(PLAN, 0.5, _requests(100, ours), _requests(1000, 0))
    assert found.strength == (label_above(ours, 0, 0.5) if matters else 0.0)
    refused = Arm(100, 0, 100, 0, client_errors=ours, statuses={"422": ours, "200": 100 - ours})
    found = more_client_errors(PLAN, 0.5, refused, _requests(1000))
    assert (found.rule, found.strength) == ("client-errors", label_above(ours, 0, 0.5) if matters else 0.0)
    assert more_errors(PLAN, 0.5, _requests(100, 9 + ours), _requests(100, 9)).strength == (
        label_above(9 + ours, 9, 0.5) if matters else 0.0
    )
    assert found.reason == (
        f"{ours} of 100 ({ours}.0%) requests were refused as the client's mistake, mostly 422, "
        "of stable's 0 of 1000 (0.0%)"
    )


def _timed(timed: int, **over: int) -> Arm:
    return Arm(timed, 0, timed, 0, {float(edge[1:]): count for edge, count in over.items()})


@pytest.mark.parametrize("timed", [99, 100])
def test_latencies_are_compared_once_the_server_is_warm(timed: int) -> None:
    found = slower(PLAN, 0.5, _timed(timed, _100=timed), _timed(1000, _100=0))
    assert (found.strength > 0) is (timed == 100)
    if timed < 100:
        assert (found.strength, found.reason) == (0.0, "too few latencies: a server's first requests are slow")


def test_the_evidence_of_latencies_is_the_mean_over_all_bounds_that_are_not_quick() -> None:
    ours, theirs = _timed(200, _50=200, _100=40, _250=20, _500=3, _900=9), _timed(100, _50=0, _100=2, _250=1, _500=0)
    found = slower(PLAN, 0.4, ours, theirs)
    # 500 ms makes a difference of 1.5 %, which does not matter: no evidence, and still one of the three.
    logs = [label_above(40, 2, 0.4), label_above(20, 1, 0.4)]
    assert found.rule == "slower"
    assert found.strength == pytest.approx(math.log(sum(math.exp(one) for one in logs) / 3))
    assert found.reason == "40 of 200 (20.0%) requests took over 100 ms, of stable's 2 of 100 (2.0%)"
    lenient = slower(PLAN.model_copy(update={"max_ratio": 3.0}), 0.4, ours, theirs)
    logs = [label_above(40, 2, 0.4, 3.0), label_above(20, 1, 0.4, 3.0)]
    assert lenient.strength == pytest.approx(math.log(sum(math.exp(one) for one in logs) / 3))


@pytest.mark.parametrize(("ours", "matters"), [(3, False), (4, True)])
def test_a_bound_at_which_the_difference_is_the_least_that_matters_counts(ours: int, matters: bool) -> None:
    found = slower(PLAN, 0.5, _timed(200, _250=ours), _timed(200, _250=0))
    assert found.strength == pytest.approx(label_above(ours, 0, 0.5) if matters else 0.0)
    if not matters:
        assert (found.strength, found.reason) == (0.0, "its latencies are not longer than stable's by any bound")
    of_both = slower(PLAN, 0.5, _timed(200, _250=10 + ours), _timed(200, _250=10))
    assert of_both.strength == pytest.approx(label_above(10 + ours, 10, 0.5) if matters else 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "sound"),
    [
        (0, 100, False),
        (100, 0, False),
        (0, 3, False),
        (3, 0, False),
        (10, 1, False),
        (0, 0, False),
        (1, 3, True),
        (25, 75, True),
        (25, 400, False),
        (80, 75, False),
    ],
)
def test_two_are_compared_only_where_the_traffic_is_split_as_the_weight_says(
    ours: int, theirs: int, sound: bool
) -> None:
    assert split_as_planned(0.25, _requests(ours), _requests(theirs)) is sound


def test_of_statuses_that_are_alike_the_lower_is_named_and_only_with_what_was_said_with_it() -> None:
    statuses = {"200": 1, "503": 3, "500": 3}
    said = {"500 b": 2, "500 a": 2, "5000 c": 9, "503 z": 9, "500 gone": 0}
    seen = Arm(7, 6, 7, 0, statuses=statuses, answers=Answers(errors=said))
    assert errors(PLAN, seen, None).reason == "6 of 7 (85.7%) requests failed, mostly 500 (a), limit 1.0%"
    gone = Arm(7, 6, 7, 0, statuses=statuses, answers=Answers(errors={"500 gone": 0}))
    assert errors(PLAN, gone, None).reason == "6 of 7 (85.7%) requests failed, mostly 500, limit 1.0%"
    unread = Arm(7, 6, 7, 0, statuses=statuses, answers=None)
    assert errors(PLAN, unread, None).reason == "6 of 7 (85.7%) requests failed, mostly 500, limit 1.0%"
    once = Arm(7, 1, 7, 0, statuses={"503": 1}, answers=Answers(errors={"503 no": 1}))
    assert errors(PLAN, once, None).reason == "1 of 7 (14.3%) requests failed, mostly 503 (no), limit 1.0%"


def test_what_the_plan_calls_a_failure_is_named_as_one() -> None:
    plan = PLAN.model_copy(update={"failing": ("5xx", "404", "none")})
    seen = Arm(7, 6, 7, 0, statuses={"200": 1, "404": 6})
    assert errors(plan, seen, None).reason == "6 of 7 (85.7%) requests failed, mostly 404, limit 1.0%"
