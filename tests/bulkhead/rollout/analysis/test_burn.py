import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.metrics.counters import Counters
from bulkhead.rollout.analysis.burn import KEPT, WORKBOOK, BurnReading, BurnWindow, burn, burning, keep, scaled
from bulkhead.rollout.analysis.sequential import share_above

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def _readings(rates: list[float], apart_s: float, requests: int = 1000) -> list[BurnReading]:
    """One reading at the beginning and one after each stretch, with a share of failures each."""
    seen, total, failed = [BurnReading(BEGIN, Counters())], 0, 0
    for number, rate in enumerate(rates, start=1):
        total, failed = total + requests, failed + round(rate * requests)
        seen.append(BurnReading(BEGIN + timedelta(seconds=number * apart_s), Counters(total, failed)))
    return seen


def test_an_outage_burns_the_hours_budget() -> None:
    found = burning(_readings([0.0] * 11 + [1.0], 300), 0.999, WORKBOOK, 10)
    assert found is not None and found.window.factor == 14.4
    assert (found.failures, found.requests) == (1000, 12_000)
    assert "99.900% burns 83.3 times too fast over 3600 s and 1000.0 times over 300 s" in found.described(0.999)


def test_an_incident_that_is_over_burns_no_more() -> None:
    assert burning(_readings([0.0] * 10 + [1.0, 0.0], 300), 0.999, WORKBOOK, 10) is None


def test_a_steady_burn_below_the_factor_is_left_to_the_longer_window() -> None:
    rates = [0.007] * 72  # 7 times too fast: too slow for the hour's factor of 14.4, too fast for six hours' 6
    found = burning(_readings(rates, 300), 0.999, WORKBOOK, 10)
    assert found is not None and found.window.long_s == 21600


@pytest.mark.parametrize("readings", [[], _readings([1.0], 300), _readings([0.002] * 12, 300, requests=1)])
def test_too_little_says_nothing(readings: list[BurnReading]) -> None:
    assert burning(readings, 0.999, WORKBOOK, 10) is None


def test_a_window_with_too_few_failures_leaves_the_longer_ones_to_be_judged() -> None:
    found = burning(_readings([0.007] * 72, 300), 0.999, WORKBOOK, 100)  # 84 failures in an hour, 504 in six
    assert found is not None and found.window.long_s == 21600
    assert burning(_readings([0.007] * 72, 300), 0.999, WORKBOOK, 504) == found  # the fewest are enough


def test_a_burn_as_high_as_the_factor_is_one_and_a_silent_end_is_none() -> None:
    windows = [BurnWindow(120, 10, 1.0)]
    assert burning(_readings([0.5] * 12, 10), 0.5, windows, 1) is not None
    readings = _readings([0.5] * 12, 10)
    silent = BurnReading(readings[-1].at + timedelta(seconds=10), readings[-1].counters)
    assert burning([*readings, silent], 0.5, windows, 1) is None


def test_as_a_rule_it_pays_for_each_window_that_may_have_begun_anywhere() -> None:
    found = burn(0.95, _readings([0.0] * 11 + [1.0] * 12, 300), WORKBOOK[-1].long_s)
    # 14.4 times a twentieth is 72 %: half of the requests is the highest limit that is asked about.
    strength = share_above(12_000, 12_000, 0.5) - math.log(3 * KEPT)
    assert (found.rule, found.over) == ("burn", False) and found.strength == pytest.approx(strength)
    mild = burn(0.99, _readings([0.0] * 11 + [0.2] * 12, 300), WORKBOOK[-1].long_s)
    assert mild.strength == pytest.approx(share_above(2400, 12_000, 0.144) - math.log(3 * KEPT))


def test_as_a_rule_it_says_where_nothing_burns() -> None:
    found = burn(0.999, [], 60)
    assert (found.strength, found.reason) == (0.0, "the error budget does not burn too fast in any window")


def test_a_reset_says_nothing() -> None:
    readings = _readings([1.0] * 12, 300)
    readings[-1] = BurnReading(readings[-1].at, Counters(5, 5))
    assert burning(readings, 0.999, WORKBOOK, 1) is None


def test_for_a_rollout_its_length_takes_the_place_of_three_days() -> None:
    windows = scaled(720)
    assert [round(window.long_s, 6) for window in windows] == [10, 60, 720]
    assert [window.factor for window in windows] == [14.4, 6, 1]
    assert all(window.short_s * 12 == window.long_s for window in windows)


@given(st.lists(st.floats(0.01, 30), max_size=400), st.floats(1, 3600))
def test_kept_readings_are_few_in_order_and_end_now(gaps: list[float], length_s: float) -> None:
    kept: list[BurnReading] = []
    at = BEGIN
    for gap in gaps:
        at += timedelta(seconds=gap)
        kept = keep(kept, BurnReading(at, Counters()), length_s)
        assert kept[-1].at == at
    assert len(kept) <= KEPT
    assert all(early.at < late.at for early, late in pairwise(kept))


def test_the_latest_reading_gives_way_until_it_is_far_enough_from_the_one_before() -> None:
    kept: list[BurnReading] = []
    ends = {}
    for half_seconds in range(7):
        kept = keep(kept, BurnReading(BEGIN + timedelta(seconds=half_seconds / 2), Counters()), KEPT - 2)
        ends[half_seconds] = [(one.at - BEGIN).total_seconds() for one in kept]
    assert ends == {
        0: [0],
        1: [0, 0.5],
        2: [0, 1],
        3: [0, 1, 1.5],
        4: [0, 1, 2],
        5: [0, 1, 2, 2.5],
        6: [0, 1, 2, 3],
    }


def test_a_reading_is_kept_only_where_it_is_as_far_from_the_one_before_as_few_readings_have_to_be() -> None:
    first, near, far = (BurnReading(BEGIN + timedelta(seconds=seconds), Counters()) for seconds in (0, 0.99, 1.98))
    assert keep([first, near], far, KEPT - 2) == [first, far]
    assert keep([first, near], far, 0.99 * (KEPT - 2)) == [first, near, far]
