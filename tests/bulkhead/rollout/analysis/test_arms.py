from math import inf

import pytest

from bulkhead.metrics.counters import Answers, Counters
from bulkhead.rollout.analysis.arms import Arm, arm, quantile


@pytest.mark.parametrize(("share", "between"), [(0.5, (0.0, 10.0)), (0.9, (10.0, 100.0)), (0.99, (100.0, inf))])
def test_a_quantile_is_known_as_well_as_the_histogram(share: float, between: tuple[float, float]) -> None:
    assert quantile(Arm(100, 0, 100, 0, {10.0: 40, 100.0: 5}), share) == between


def test_without_latencies_there_is_no_quantile() -> None:
    assert quantile(Arm(10, 0, 0, 0), 0.5) is None


def test_answers_that_were_reset_say_nothing_and_leave_the_requests_alone() -> None:
    before = Counters(10, 0, {inf: 10}, answers=Answers(10, 0, {"1": 10}))
    after = Counters(20, 1, {inf: 20}, answers=Answers(3, 0, {"1": 3}))
    seen = arm(before, after, 250)
    assert seen is not None and (seen.requests, seen.failures, seen.answers) == (10, 1, None)


def test_answers_are_the_difference_category_by_category() -> None:
    before = Counters(answers=Answers(10, 1, {"1": 9}, 4, 4))
    after = Counters(answers=Answers(30, 2, {"1": 20, "2": 8}, 9, 7))
    seen = arm(before, after, 250)
    assert seen is not None and seen.answers == Answers(20, 1, {"1": 11, "2": 8}, 5, 3)


def test_pods_come_go_and_begin_again_while_their_answers_are_counted() -> None:
    before = Counters(by_pod={"stays": Answers(10, 1, {"1": 9}), "goes": Answers(50, 0, {"1": 50})})
    after = Counters(by_pod={"stays": Answers(30, 2, {"1": 20, "2": 8}), "comes": Answers(5, 1, {"2": 4})})
    seen = arm(before, after, 250)
    assert seen is not None and seen.answers == Answers(25, 2, {"1": 11, "2": 12})
    gone = arm(before, Counters(), 250)
    assert gone is not None and gone.answers == Answers()


def test_a_pod_whose_count_fell_makes_all_answers_unknown() -> None:
    before, after = Counters(by_pod={"a": Answers(10)}), Counters(by_pod={"a": Answers(3), "b": Answers(100)})
    seen = arm(before, after, 250)
    assert seen is not None and seen.answers is None
