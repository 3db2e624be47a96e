from math import inf

import pytest

from bulkhead.metrics.counters import Answers, Counters
from bulkhead.rollout.analysis.arms import Arm, arm, quantile, shown


@pytest.mark.parametrize(
    ("share", "between"), [(0.5, (0.0, 10.0)), (0.6, (0.0, 10.0)), (0.9, (10.0, 100.0)), (0.99, (100.0, inf))]
)
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


def test_whatever_a_pod_says_is_counted_from_the_windows_begin() -> None:
    """Those that stay, by the difference; those that came, whole; texts of errors too."""
    stays = Answers(10, 1, {"1": 9}, 4, 3, {"500 no memory": 1})
    stayed = Answers(30, 2, {"1": 20, "2": 8}, 9, 7, {"500 no memory": 3, "500 no disk": 2})
    comes = Answers(6, 1, {"2": 4}, 5, 1, {"500 no disk": 4, "503 busy": 1})
    before, after = Counters(by_pod={"stays": stays}), Counters(by_pod={"stays": stayed, "comes": comes})
    seen = arm(before, after, 250)
    errors = {"500 no memory": 2, "500 no disk": 6, "503 busy": 1}
    assert seen is not None and seen.answers == Answers(26, 2, {"1": 11, "2": 12}, 10, 5, errors)


def test_a_category_that_is_gone_means_that_the_model_counts_anew() -> None:
    seen = arm(Counters(answers=Answers(5, 0, {"1": 1})), Counters(answers=Answers(9, 0, {"2": 9})), 250)
    assert seen is not None and seen.answers is None


@pytest.mark.parametrize("unreadable", [0, 1])
def test_answers_that_could_not_be_read_at_either_end_are_unknown(unreadable: int) -> None:
    ends = [Counters(1, answers=Answers(1)), Counters(2, answers=Answers(2))]
    ends[unreadable] = Counters(ends[unreadable].requests, answers=None)
    seen = arm(*ends, 250)
    assert seen is not None and (seen.requests, seen.answers) == (1, None)


def test_of_pods_that_are_all_gone_nothing_fell() -> None:
    parts = {"a": Counters(100, 1, {inf: 100})}
    seen = arm(Counters(100, 1, {inf: 100}, parts=parts), Counters(), 250)
    assert seen is not None and (seen.requests, seen.failures, seen.timed) == (0, 0, 0)


def test_slow_is_counted_at_the_first_bound_that_is_not_below_the_limit() -> None:
    before, after = Counters(), Counters(10, slow={100.0: 4, 250.0: 7, 500.0: 9, inf: 10})
    slow = {latency: arm(before, after, latency) for latency in (100, 101, 250, 251, 501)}
    assert {latency: seen.slow for latency, seen in slow.items() if seen} == {100: 6, 101: 3, 250: 3, 251: 1, 501: 0}


def test_a_histogram_that_began_anew_says_nothing() -> None:
    assert arm(Counters(slow={100.0: 0, inf: 0}), Counters(slow={100.0: 5, inf: 3}), 250) is None
    assert arm(Counters(slow={100.0: 0, inf: 5}), Counters(slow={100.0: 0, inf: 3}), 250) is None


def test_statuses_are_those_of_the_window() -> None:
    before = Counters(10, statuses={"200": 8, "404": 2}, client_errors=2)
    after = Counters(20, 3, statuses={"200": 13, "404": 4, "503": 3, "500": 0}, client_errors=4, active=7)
    seen = arm(before, after, 250)
    assert seen == Arm(10, 3, 0, 0, {}, Answers(), 7, 2, {"200": 5, "404": 2, "503": 3})


def test_an_arm_is_the_difference_of_two_readings() -> None:
    before = Counters(100, 2, {250.0: 90, 500.0: 98, inf: 100})
    after = Counters(150, 5, {250.0: 120, 500.0: 140, inf: 150})
    assert arm(before, after, 250) == Arm(requests=50, failures=3, timed=50, slow=20, above={250.0: 20, 500.0: 8})


def test_the_first_bound_not_below_the_latency_counts() -> None:
    after = Counters(10, 0, {250.0: 5, 500.0: 9, inf: 10})
    found = arm(Counters(), after, 300)
    assert found is not None and (found.slow, found.timed, found.above) == (1, 10, {250.0: 5, 500.0: 1})


def test_a_counter_that_fell_was_reset_and_says_nothing() -> None:
    assert arm(Counters(100, 0, {inf: 100}), Counters(3, 0, {inf: 3}), 250) is None


def test_a_histogram_that_lags_behind_the_counters_is_no_slow_request() -> None:
    found = arm(Counters(), Counters(10, 0, {}), 250)
    assert found == Arm(requests=10, failures=0, timed=0, slow=0)


def test_an_arm_as_numbers_has_the_buckets_of_its_median_and_of_its_99th_percentile() -> None:
    seen = Arm(100, 3, 100, 20, {100.0: 60, 250.0: 20, 500.0: 1}, Answers(90, 1, compared=8, agreed=7))
    assert shown(seen) == {
        "requests": 100,
        "failures": 3,
        "timed": 100,
        "slow": 20,
        "p50_ms": [100.0, 250.0],
        "p99_ms": [250.0, 500.0],
        "answers": {"seen": 90, "invalid": 1},
        "agreed": [7, 8],
    }
    assert shown(None) is None
    slow = shown(Arm(10, 0, 10, 9, {100.0: 9}))
    assert slow is not None and slow["p50_ms"] == [100.0, "inf"]
