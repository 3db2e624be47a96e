"""Exact tests of two shares on the same rows, against sums over every table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multinomial, norm

from bulkhead.gpu_tasks.gate import proportions
from bulkhead.gpu_tasks.gate.proportions import interval, p_within_margin, p_worse_by_margin


def test_without_a_margin_it_is_mcnemars() -> None:
    assert p_worse_by_margin(5, 0, 100, 0) == pytest.approx(1 / 32)
    assert p_worse_by_margin(0, 5, 100, 0) == 1
    assert p_within_margin(0, 5, 100, 0) == pytest.approx(1 / 32)
    assert p_within_margin(7, 3, 10, 0) == pytest.approx(0.9453125)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (2, 3), (0, 4), (6, 1)])
@pytest.mark.parametrize("margin", [0.1, 0.3])
@pytest.mark.parametrize("better", [True, False])
def test_it_sums_over_every_table_for_the_least_favourable_way(
    wins: int, losses: int, margin: float, better: bool
) -> None:
    rows = 12
    tables = [(w, lost) for w in range(rows + 1) for lost in range(rows + 1 - w)]
    score = {table: float(proportions._score(*map(np.array, table), rows, margin)) for table in tables}
    sign = 1 if better else -1
    extreme = [table for table in tables if sign * (score[table] - score[wins, losses]) >= -1e-9]
    counts = [(w, lost, rows - w - lost) for w, lost in extreme]
    ways = np.linspace(margin, (1 + margin) / 2, 400)
    by_hand = max(float(multinomial(rows, [q - margin, q, 1 - 2 * q + margin]).pmf(counts).sum()) for q in ways)
    found = (p_worse_by_margin if better else p_within_margin)(wins, losses, rows, margin)
    # Ways that the losses rule out are not looked at: it may be smaller, and its own sureness is added.
    assert found <= by_hand + 2e-5
    assert found == pytest.approx(by_hand, rel=0.2, abs=2e-5)


@pytest.mark.parametrize("share", [0.1, 0.15, 0.3, 0.5])
def test_it_errs_no_oftener_than_it_says(share: float) -> None:
    rows, margin, alpha = 25, 0.1, 0.05
    tables = [(w, lost, rows - w - lost) for w in range(rows + 1) for lost in range(rows + 1 - w)]
    likely = multinomial(rows, [share - margin, share, 1 - 2 * share + margin]).pmf(tables)
    passed = sum(
        p for p, (w, lost, _) in zip(likely, tables, strict=True) if p_worse_by_margin(w, lost, rows, margin) <= alpha
    )
    assert passed <= alpha


def test_what_was_seen_on_too_few_rows_shows_nothing() -> None:
    assert p_worse_by_margin(0, 0, 50, 0.02) == pytest.approx(0.98**50, abs=2e-5)
    assert p_worse_by_margin(0, 0, 500, 0.02) < 0.001


@pytest.mark.parametrize("rows", [1, 500])
def test_the_ends_of_the_scale(rows: int) -> None:
    assert p_worse_by_margin(0, rows, rows, 0.02) == 1
    assert p_within_margin(rows, 0, rows, 0.02) == pytest.approx(1, abs=1e-4)
    low, high = interval(0, 0, rows, 0.05)
    assert low == pytest.approx(-high) and 0 < high < 1
    assert interval(rows, 0, rows, 0.05)[1] == pytest.approx(1)
    assert interval(0, rows, rows, 0.05)[0] == pytest.approx(-1)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(120, 2000), st.floats(0.001, 0.2))
def test_the_interval_holds_what_was_seen_and_ends_where_the_score_does(
    wins: int, losses: int, rows: int, alpha: float
) -> None:
    low, high = interval(wins, losses, rows, alpha)
    assert -1 <= low < (wins - losses) / rows < high <= 1
    for end, sign in ((low, 1), (high, -1)):
        assert float(proportions._score(np.array(wins), np.array(losses), rows, -end)) == pytest.approx(
            sign * norm.isf(alpha), abs=1e-3
        )


@given(st.integers(0, 30), st.integers(0, 30), st.integers(60, 400))
def test_a_wider_margin_is_easier_to_keep(wins: int, losses: int, rows: int) -> None:
    found = [p_worse_by_margin(wins, losses, rows, margin) for margin in (0.01, 0.05, 0.2)]
    assert all(0 <= p <= 1 for p in found)
    assert found == sorted(found, reverse=True)
