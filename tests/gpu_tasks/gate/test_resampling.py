"""The paired bootstrap, against formulas and against scipy's."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from bulkhead.gpu_tasks.gate import resampling
from bulkhead.gpu_tasks.gate.resampling import Difference, Resampled, resample

RESAMPLES = 4000


def _mean(means: Any) -> Any:
    return means[..., 0]


def _of(candidate: Any, champion: Any, resamples: int = RESAMPLES, seed: int = 0, **more: Any) -> Resampled:
    difference = Difference(np.asarray(candidate)[:, None], np.asarray(champion)[:, None], _mean, **more)
    return resample([difference], resamples, seed)[0]


@pytest.fixture
def skewed() -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    common = rng.gamma(1.0, size=400)
    return common + 0.5 * rng.gamma(0.5, size=400), common + 0.2 * rng.gamma(0.5, size=400)


def test_the_weights_of_rows_are_as_good_as_poisson_ones() -> None:
    weights = np.frombuffer(resampling._BYTES, dtype=np.uint8).astype(float)
    assert len(weights) == 256
    assert weights.mean() == 1 and weights.var() == 1
    assert ((weights - 1) ** 3).mean() == pytest.approx(1, abs=0.01)


def test_resamples_vary_as_the_formula_says(skewed: tuple[Any, Any]) -> None:
    candidate, champion = skewed
    found = _of(candidate, champion)
    assert found.value == pytest.approx(float((candidate - champion).mean()))
    expected = float((candidate - champion).std(ddof=1) / np.sqrt(len(candidate)))
    assert found.resamples.std() == pytest.approx(expected, rel=0.04)
    assert np.sqrt(found.variance_of_a_row / len(candidate)) == pytest.approx(expected, rel=1e-6)


def test_pairs_that_go_together_vary_less_than_each_alone(skewed: tuple[Any, Any]) -> None:
    candidate, champion = skewed
    assert _of(candidate, champion).resamples.std() < 0.5 * _of(candidate, 0 * champion).resamples.std()


def test_its_interval_is_scipys(skewed: tuple[Any, Any]) -> None:
    candidate, champion = skewed
    theirs = stats.bootstrap(
        (candidate - champion,), np.mean, n_resamples=20_000, confidence_level=0.9, method="BCa", rng=3
    ).confidence_interval
    ours = _of(candidate, champion, 20_000).interval(0.05)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.05 * (theirs.high - theirs.low))
    assert ours[0] < theirs.low  # of a right-skewed difference the lower end may not come closer


def test_a_p_value_is_alpha_where_the_interval_ends(skewed: tuple[Any, Any]) -> None:
    found = _of(*skewed, 20_000)
    low, high = found.interval(0.05)
    assert found.p_at_most(low, 0.5) == pytest.approx(0.05, abs=0.002)
    assert found.p_at_least(high, 0.5) == pytest.approx(0.05, abs=0.002)
    assert found.p_at_most(low, 0.99) > found.p_at_most(low, 0.5)
    assert found.p_at_most(found.value, 0.5) == pytest.approx(0.5, abs=0.05)


def test_no_resample_beyond_a_bound_is_no_certainty(skewed: tuple[Any, Any]) -> None:
    found = _of(*skewed)
    for p_value, far in ((found.p_at_most, -100), (found.p_at_least, 100)):
        assert 0.1 / RESAMPLES < p_value(far, 0.5) < p_value(far, 0.99) < 0.01
        assert p_value(-far, 0.99) == 1


def test_a_bound_that_resamples_meet_exactly_counts_against_what_is_claimed() -> None:
    rng = np.random.default_rng(0)
    candidate, champion = (rng.random((2, 1000)) < 0.9).astype(float)
    found = _of(candidate, champion)
    at = float(found.resamples[RESAMPLES // 10])
    beyond = float((found.resamples <= at + 1e-9).mean())
    assert found._p(round(beyond * RESAMPLES), 0.5, 1) == found.p_at_most(at, 0.5)


def test_equal_rows_are_drawn_together_and_vary_the_same() -> None:
    rng = np.random.default_rng(2)
    candidate, champion = (rng.random((2, 2000)) < 0.9).astype(float)
    together = _of(candidate, champion)
    alone = _of(candidate + 1e-9 * rng.random(2000), champion)
    assert len(together.counts) <= 4 and len(alone.counts) == 2000
    assert together.resamples.std() == pytest.approx(alone.resamples.std(), rel=0.05)
    assert together.variance_of_a_row == pytest.approx(alone.variance_of_a_row, rel=1e-3)
    assert together.value == pytest.approx(alone.value, abs=1e-6)


def test_rows_whose_sums_agree_by_chance_are_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Same:
        def random(self, size: int) -> Any:
            return np.zeros(size)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Same())
    found = _of([1.0, 0.0] * 50, [0.0, 0.0] * 50)
    assert len(found.counts) == 100


def test_a_slice_is_as_if_there_were_no_other_rows(skewed: tuple[Any, Any]) -> None:
    candidate, champion = skewed
    within = np.arange(400) % 4 == 0
    inside, alone = _of(candidate, champion, within=within), _of(candidate[within], champion[within])
    assert inside.value == pytest.approx(alone.value) and inside.counts.sum() == 100
    assert inside.variance_of_a_row == pytest.approx(alone.variance_of_a_row)
    assert inside.resamples.std() == pytest.approx(alone.resamples.std(), rel=0.06)
    assert inside._acceleration == pytest.approx(alone._acceleration)


def test_a_family_is_each_of_its_members(skewed: tuple[Any, Any]) -> None:
    candidate, champion = (one[:, None] for one in skewed)
    first, overlapping = np.arange(400) < 200, np.arange(400) % 3 == 0
    asked = [
        Difference(candidate, champion, _mean, overlapping),
        Difference(np.hstack([candidate, candidate**2]), np.hstack([champion, champion**2]), lambda m: m[..., 1]),
        Difference(candidate, champion, _mean, first),
        Difference(candidate, champion, _mean),
    ]
    found = resample(asked, 500, 0)
    for one, difference in zip(found, asked, strict=True):
        within = slice(None) if difference.within is None else difference.within
        sides = [difference.value(side[within].mean(axis=0)) for side in (difference.candidate, difference.champion)]
        assert (one.candidate, one.champion) == pytest.approx(tuple(map(float, sides)))
        alone = resample([difference], 2000, 1)[0]
        assert one.resamples.std() == pytest.approx(alone.resamples.std(), rel=0.15)


def test_it_can_be_repeated(skewed: tuple[Any, Any]) -> None:
    again, other = _of(*skewed), _of(*skewed, seed=1)
    assert np.array_equal(_of(*skewed).resamples, again.resamples)
    assert not np.array_equal(other.resamples, again.resamples)


def test_models_that_answer_alike_differ_by_nothing() -> None:
    found = _of(np.arange(100.0), np.arange(100.0))
    assert (found.value, found.variance_of_a_row, found.rows_that_matter) == (0, 0, 0)
    assert found.interval(0.05) == (0, 0)
    assert found.p_at_most(0, 0.99) == 1
    assert found.reach == pytest.approx(99)  # from 0 to 99: what one row more of all can add to the mean


def test_few_rows_that_differ_are_few_degrees_of_freedom(skewed: tuple[Any, Any]) -> None:
    candidate, champion = skewed
    few = _of(np.where(np.arange(400) < 8, candidate, champion), champion)
    assert 1 < few.rows_that_matter <= 8
    many = _of(candidate, champion)
    few.__dict__.update(_bias=0.0, _acceleration=0.0)
    many.__dict__.update(_bias=0.0, _acceleration=0.0)
    far = [found.p_at_most(found.value - 3 * float(found.resamples.std()), 0.5) for found in (few, many)]
    assert far[0] > 5 * far[1]


def test_of_a_share_the_rows_that_differ_matter() -> None:
    candidate, champion = np.ones(500), np.ones(500)
    candidate[:6], champion[6:12] = 0, 0
    assert _of(candidate, champion).rows_that_matter == pytest.approx(12)


@pytest.mark.parametrize("sign", [1, -1])
def test_skewness_never_makes_a_claim_easier(skewed: tuple[Any, Any], sign: int) -> None:
    candidate, champion = (sign * one for one in skewed)
    found = _of(candidate, champion)
    plain = _of(candidate, champion)
    plain.__dict__["_acceleration"] = 0.0
    bound = found.value - 2 * float(found.resamples.std())
    easier = found._acceleration > 0
    assert easier == (sign > 0)
    assert (found.p_at_most(bound, 0.5) == plain.p_at_most(bound, 0.5)) == easier
    assert found.p_at_most(bound, 0.5) >= plain.p_at_most(bound, 0.5)
