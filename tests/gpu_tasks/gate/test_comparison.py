"""What the gate says of a candidate, and of a family of metrics and slices."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.gate import comparison as module
from bulkhead.gpu_tasks.gate.comparison import Comparison, ComparisonResult, ComparisonVerdict, compare, holm
from bulkhead.gpu_tasks.gate.metrics import by_row, of

ACCURACY = of("accuracy_score")
COST = by_row("cost", lambda targets, predictions: predictions, greater_is_better=False)


def _right(rows: int, wins: int, losses: int) -> Comparison:
    """A comparison of accuracies: so many rows of which the candidate alone, or the champion alone, is right."""
    candidate, champion = np.ones(rows), np.ones(rows)
    champion[:wins], candidate[wins : wins + losses] = 0, 0
    return Comparison(ACCURACY, candidate[:, None], champion[:, None], margin=0.02)


def _costs(rows: int, dearer: float, **more: Any) -> Comparison:
    rng = np.random.default_rng(rows)
    champion = rng.gamma(2.0, size=rows)
    noise = rng.normal(0, 0.5, rows)
    return Comparison(COST, (champion + noise - noise.mean() + dearer)[:, None], champion[:, None], 0.1, **more)


def _one(comparison: Comparison, **more: Any) -> ComparisonResult:
    (result,) = compare([comparison], **more)
    return result


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (_right(2000, 20, 20), ComparisonVerdict.NOT_WORSE),
        (_right(2000, 20, 120), ComparisonVerdict.WORSE),
        (_right(300, 9, 10), ComparisonVerdict.TOO_LITTLE_DATA),
        (_right(20_000, 800, 800), ComparisonVerdict.NOT_WORSE),  # too many that differ for the exact test
        (_right(20_000, 800, 1600), ComparisonVerdict.WORSE),
        (_costs(2000, 0.0), ComparisonVerdict.NOT_WORSE),
        (_costs(2000, 0.2), ComparisonVerdict.WORSE),
        (_costs(100, 0.05), ComparisonVerdict.TOO_LITTLE_DATA),
        (_costs(2000, -5.0), ComparisonVerdict.NOT_WORSE),
    ],
)
def test_it_tells_not_worse_from_worse_and_from_too_little_data(asked: Comparison, verdict: ComparisonVerdict) -> None:
    found = _one(asked)
    assert found.verdict is verdict
    assert found.passed == (verdict is ComparisonVerdict.NOT_WORSE)
    assert found.low <= found.difference <= found.high
    assert (found.rows_needed is not None) == (verdict is ComparisonVerdict.TOO_LITTLE_DATA)


def test_a_metric_that_is_better_when_smaller_is_reported_as_it_is() -> None:
    found = _one(_costs(2000, 0.2))
    assert found.difference == pytest.approx(0.2) and found.candidate > found.champion > 0
    assert 0.1 < found.low < 0.2 < found.high


def test_superiority_asks_for_more_than_being_equal() -> None:
    equal, better = (_one(replace(_costs(2000, dearer), superiority=True)) for dearer in (0.0, -0.2))
    assert equal.verdict is ComparisonVerdict.TOO_LITTLE_DATA
    assert better.verdict is ComparisonVerdict.BETTER and better.passed
    assert _one(replace(_right(1000, 60, 20), superiority=True)).verdict is ComparisonVerdict.BETTER
    assert _one(replace(_right(1000, 20, 60), superiority=True)).verdict is ComparisonVerdict.WORSE


def test_no_number_of_rows_makes_a_candidate_better_that_is_not() -> None:
    equal = _one(replace(_right(1000, 21, 22), superiority=True))
    assert equal.verdict is ComparisonVerdict.TOO_LITTLE_DATA and equal.rows_needed is None
    nearly = _one(replace(_right(1000, 30, 22), superiority=True))
    assert nearly.rows_needed is not None and nearly.rows_needed > 1000


@pytest.mark.parametrize("rows", [3, 20, 100])
def test_models_that_answer_alike_on_few_rows_may_differ_on_others(rows: int) -> None:
    found = _one(_right(rows, 0, 0))
    assert found.verdict is ComparisonVerdict.TOO_LITTLE_DATA
    assert found.rows_needed is not None
    assert _one(_right(found.rows_needed, 0, 0)).passed
    bounded = replace(_right(rows, 0, 0), metric=replace(ACCURACY, proportion=False))
    assert _one(bounded).verdict is ComparisonVerdict.TOO_LITTLE_DATA


@pytest.mark.parametrize(
    ("rows", "wins", "losses"), [(100, 3, 3), (200, 6, 10), (200, 2, 4), (1000, 30, 40), (150, 0, 2)]
)
def test_resampling_errs_on_the_side_of_the_exact_test(rows: int, wins: int, losses: int) -> None:
    """A bootstrap that trusts the few rows that differ calls too much "not worse": it did so in one family of five."""
    exact = _right(rows, wins, losses)
    resampled = _one(replace(exact, metric=replace(ACCURACY, proportion=False)), resamples=20_000)
    assert 0.5 * _one(exact).p < resampled.p < 4 * _one(exact).p


def test_models_that_answer_alike_on_many_rows_pass_whatever_the_metric() -> None:
    alike = _costs(3000, 0.0)
    alike = replace(alike, candidate=alike.champion)
    assert _one(alike).passed
    few = _one(replace(alike, within=np.arange(3000) < 100))
    assert few.verdict is ComparisonVerdict.TOO_LITTLE_DATA and few.rows_needed is not None
    assert 100 * 30 < few.rows_needed < 3000 * 30
    perfect = _one(replace(alike, candidate=0 * alike.champion, champion=0 * alike.champion))
    assert perfect.verdict is ComparisonVerdict.TOO_LITTLE_DATA  # no row says what one may cost
    assert _one(replace(alike, superiority=True)).verdict is ComparisonVerdict.TOO_LITTLE_DATA


def test_so_many_rows_as_it_names_do_for_an_equal_candidate() -> None:
    rng = np.random.default_rng(0)

    def drawn(rows: int) -> Comparison:
        kind = rng.choice(3, size=rows, p=(0.04, 0.04, 0.92))
        return Comparison(ACCURACY, (kind != 0)[:, None] * 1.0, (kind != 1)[:, None] * 1.0, 0.02)

    refused = [found for _ in range(60) if not (found := _one(drawn(500))).passed]
    assert len(refused) > 10
    needed = [found.rows_needed for found in refused if found.rows_needed is not None]
    assert len(needed) == len(refused)
    enough = sum(_one(drawn(rows)).passed for rows in needed)
    assert enough >= 0.8 * len(needed)  # 0.95 are expected; benchmarks/gate.py counts


def test_a_slice_is_judged_by_its_own_rows_and_needs_its_share() -> None:
    good = _right(4000, 0, 0)
    spoilt = good.candidate.copy()
    spoilt[:80] = 0
    inside = np.arange(4000) < 400
    family = [
        replace(good, candidate=spoilt),
        replace(good, candidate=spoilt, slice_name="region = north", within=inside),
        replace(good, candidate=spoilt, slice_name="region = south", within=~inside),
    ]
    whole, north, south = compare(family)
    assert (whole.verdict, north.verdict, south.verdict) == (
        ComparisonVerdict.TOO_LITTLE_DATA,
        ComparisonVerdict.WORSE,
        ComparisonVerdict.NOT_WORSE,
    )
    assert (north.rows, north.candidate, north.comparison.name) == (400, 0.8, "accuracy_score of region = north")
    small = _right(4000, 150, 150)
    alone = _one(small)
    tenth = _one(replace(small, within=np.arange(4000) % 10 == 0))
    assert alone.passed and tenth.rows_needed is not None and tenth.rows_needed > 4000


def test_a_family_is_harder_to_pass_than_its_member() -> None:
    alone = _right(400, 4, 4)
    assert _one(alone).passed
    assert not any(found.passed for found in compare([alone] * 10))
    assert all(found.passed for found in compare([_right(4000, 12, 12)] * 10))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many resamples were asked for, each time."""
    numbers: list[int] = []
    original = module.resample

    def counted(differences: Any, resamples: int, seed: int) -> Any:
        numbers.append(resamples)
        return original(differences, resamples, seed)

    monkeypatch.setattr(module, "resample", counted)
    return numbers


def test_a_large_family_has_resamples_enough_to_pass(asked: list[int]) -> None:
    assert _one(_costs(2000, 0.0), resamples=500).passed
    assert asked == [500]
    resampled = replace(_right(4000, 20, 20), metric=replace(ACCURACY, proportion=False))
    assert all(found.passed for found in compare([resampled] * 60, resamples=500))
    assert asked[:2] == [500, 13_816]


def test_where_a_few_resamples_beyond_the_margin_decide_more_are_drawn(asked: list[int]) -> None:
    runs = []
    for losses in range(40, 90, 2):
        asked.clear()
        compare([replace(_right(4000, 20, losses), metric=replace(ACCURACY, proportion=False))] * 30, resamples=500)
        runs.append(list(asked))
    assert {tuple(run) for run in runs} == {(6908,), (6908, 27_632)}
    assert 0 < runs.count([6908, 27_632]) < 15


def test_a_p_value_beside_alpha_is_no_reason_for_more(asked: list[int]) -> None:
    close = _costs(1000, 0.07)
    p = _one(close, resamples=1000).p
    asked.clear()
    assert not _one(close, resamples=1000, alpha=0.95 * p).passed
    assert asked == [1000]


def test_the_same_seed_says_the_same() -> None:
    asked = _costs(500, 0.05)
    assert _one(asked) == _one(asked) != _one(asked, seed=1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (replace(_right(100, 0, 0), margin=float("nan")), r"margin of accuracy_score = nan: give a number from 0 up"),
        (replace(_right(100, 0, 0), margin=-0.1), r"margin of accuracy_score = -0\.1: give a number"),
        (
            replace(_right(100, 0, 0), within=np.zeros(100, dtype=bool), slice_name="age < 0"),
            r"accuracy_score of age < 0: no row is in it; give other slices, or other data",
        ),
        (replace(_costs(100, 0), candidate=np.full((100, 1), np.nan)), r"cost of the candidate is nan on 100 rows"),
        (replace(_costs(100, 0), champion=np.full((100, 1), np.inf)), r"cost of the champion is inf on 100 rows"),
        (replace(_right(100, 0, 0), candidate=np.full((100, 1), np.nan)), r"accuracy_score of the candidate is nan"),
    ],
)
def test_what_cannot_be_compared_is_refused(asked: Comparison, message: str) -> None:
    with pytest.raises(GateError, match=message):
        compare([asked])


def test_a_metric_that_some_resamples_do_not_have_is_too_little_data() -> None:
    value = np.array([1.0] + [0.0] * 199)[:, None]  # of resamples without the first row it is 0 / 0
    ratio = replace(COST, value=lambda means: means[..., 0] / means[..., 0])
    found = _one(Comparison(ratio, value, value, 0.1))
    assert found.verdict is ComparisonVerdict.TOO_LITTLE_DATA and found.p == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_adjusts_upwards_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= more <= 1 for p, more in zip(p_values, adjusted, strict=True))
    assert max(adjusted) <= min(1, len(p_values) * max(p_values))
    assert [more for _, more in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)
