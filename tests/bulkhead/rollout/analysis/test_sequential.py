import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.rollout.analysis.sequential import label_above, share_above


def _binomial(trials: int, events: int, share: float) -> float:
    return math.comb(trials, events) * share**events * (1 - share) ** (trials - events)


@given(st.integers(0, 40), st.floats(0.001, 0.6), st.floats(0, 1))
def test_of_a_healthy_share_the_expectation_is_at_most_one(trials: int, limit: float, of_limit: float) -> None:
    share = limit * of_limit
    expected = sum(_binomial(trials, n, share) * math.exp(share_above(n, trials, limit)) for n in range(trials + 1))
    assert expected <= 1 + 1e-9


@given(st.integers(0, 40), st.floats(0.01, 0.9), st.floats(1, 5), st.floats(0, 1))
def test_of_a_healthy_candidate_the_expectation_is_at_most_one(
    events: int, weight: float, ratio: float, of_limit: float
) -> None:
    limit = weight * ratio / (weight * ratio + 1 - weight)
    share = limit * of_limit
    expected = sum(
        _binomial(events, n, share) * math.exp(label_above(n, events - n, weight, ratio)) for n in range(events + 1)
    )
    assert expected <= 1 + 1e-9


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 60), st.floats(0.01, 0.9))
def test_it_grows_with_bad_news_and_shrinks_with_good(bad: int, good: int, more: int, limit: float) -> None:
    now = share_above(bad, bad + good, limit)
    assert share_above(bad + more, bad + good + more, limit) >= now - 1e-9
    assert share_above(bad, bad + good + more, limit) <= now + 1e-9


def test_nothing_seen_is_no_evidence() -> None:
    assert share_above(0, 0, 0.01) == pytest.approx(0)
    assert label_above(0, 0, 0.1) == pytest.approx(0)


def test_a_look_after_each_request_fails_few_that_are_sound() -> None:
    rng, alpha, runs = random.Random(1), 0.05, 600
    failed = 0
    for _ in range(runs):
        events = 0
        for trial in range(1, 401):
            events += rng.random() < 0.02
            if share_above(events, trial, 0.02) >= -math.log(alpha):
                failed += 1
                break
    assert failed / runs <= alpha


def test_an_incident_that_befalls_both_is_no_evidence() -> None:
    assert label_above(50, 450, 0.1) < 0 < label_above(90, 410, 0.1)


@pytest.mark.parametrize(("weight", "most"), [(0.1, 4), (0.5, 14)])
def test_a_candidate_that_always_fails_is_found_within_a_few_failures(weight: float, most: int) -> None:
    failures = next(n for n in range(1, 100) if label_above(n, 0, weight) >= -math.log(0.01))
    assert failures <= most


@pytest.mark.parametrize(("weight", "ratio", "sound"), [(0.2, 1.0, 0.2), (0.2, 2.0, 1 / 3), (0.5, 3.0, 0.75)])
def test_a_label_is_the_candidates_by_its_share_of_the_traffic_and_the_ratio(
    weight: float, ratio: float, sound: float
) -> None:
    for ours, theirs in ((9, 1), (3, 40)):
        assert label_above(ours, theirs, weight, ratio) == pytest.approx(share_above(ours, ours + theirs, sound))
