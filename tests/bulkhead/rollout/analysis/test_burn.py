from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.metrics.counters import Counters
from bulkhead.rollout.analysis.burn import KEPT, WORKBOOK, Reading, burning, keep, scaled

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def _readings(rates: list[float], apart_s: float, requests: int = 1000) -> list[Reading]:
    """One reading at the beginning and one after each stretch, with a share of failures each."""
    seen, total, failed = [Reading(BEGIN, Counters())], 0, 0
    for number, rate in enumerate(rates, start=1):
        total, failed = total + requests, failed + round(rate * requests)
        seen.append(Reading(BEGIN + timedelta(seconds=number * apart_s), Counters(total, failed)))
    return seen


def test_an_outage_burns_the_hours_budget() -> None:
    found = burning(_readings([0.0] * 11 + [1.0], 300), 0.999, WORKBOOK, 10)
    assert found is not None and found.window.factor == 14.4
    assert (found.failures, found.requests) == (1000, 12_000)
    assert "99.900% burns 83.3 times too fast over 3600 s and 1000.0 times over 300 s" in found.told(0.999)


def test_an_incident_that_is_over_burns_no_more() -> None:
    assert burning(_readings([0.0] * 10 + [1.0, 0.0], 300), 0.999, WORKBOOK, 10) is None


def test_a_steady_burn_below_the_factor_is_left_to_the_longer_window() -> None:
    rates = [0.007] * 72  # 7 times too fast: too slow for the hour's factor of 14.4, too fast for six hours' 6
    found = burning(_readings(rates, 300), 0.999, WORKBOOK, 10)
    assert found is not None and found.window.long_s == 21600


@pytest.mark.parametrize("readings", [[], _readings([1.0], 300), _readings([0.002] * 12, 300, requests=1)])
def test_too_little_says_nothing(readings: list[Reading]) -> None:
    assert burning(readings, 0.999, WORKBOOK, 10) is None


def test_a_reset_says_nothing() -> None:
    readings = _readings([1.0] * 12, 300)
    readings[-1] = Reading(readings[-1].at, Counters(5, 5))
    assert burning(readings, 0.999, WORKBOOK, 1) is None


def test_for_a_rollout_its_length_takes_the_place_of_three_days() -> None:
    windows = scaled(720)
    assert [round(one.long_s, 6) for one in windows] == [10, 60, 720]
    assert [one.factor for one in windows] == [14.4, 6, 1]
    assert all(one.short_s * 12 == one.long_s for one in windows)


@given(st.lists(st.floats(0.01, 30), max_size=400), st.floats(1, 3600))
def test_kept_readings_are_few_in_order_and_end_now(gaps: list[float], length_s: float) -> None:
    kept: list[Reading] = []
    at = BEGIN
    for gap in gaps:
        at += timedelta(seconds=gap)
        kept = keep(kept, Reading(at, Counters()), length_s)
        assert kept[-1].at == at
    assert len(kept) <= KEPT
    assert all(early.at < late.at for early, late in pairwise(kept))
