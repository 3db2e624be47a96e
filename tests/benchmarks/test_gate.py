"""The simulated models of the gate's benchmark are what it says, and its bars can be missed."""

import copy
from typing import Any

import numpy as np
import pytest

from benchmarks import gate
from benchmarks.gate import MARGIN, any_passes, held, judge, models, rates


@pytest.mark.parametrize("worse", [0.0, MARGIN])
def test_models_are_as_good_as_it_says_and_wrong_together(worse: float) -> None:
    candidate, champion = models(np.random.default_rng(0), 200_000, worse)
    assert champion.mean() == pytest.approx(1 - gate.WRONG, abs=0.002)
    assert champion.mean() - candidate.mean() == pytest.approx(worse, abs=0.002)
    assert (~candidate & ~champion).mean() == pytest.approx(gate.BOTH_WRONG, abs=0.002)


def test_a_pair_is_judged_by_each() -> None:
    assert judge(0, 20_000, 0.0)[0] == "not-worse"
    verdict, asked, point, change = judge(0, 20_000, 2 * MARGIN)
    assert (verdict, asked, point, change) == ("worse", 0, False, False)
    assert judge(0, 60, 0.0)[0] == "too-little-data" and judge(0, 60, 0.0)[1] > 60


def test_a_family_is_of_models_that_are_worse_in_every_part() -> None:
    assert sum(any_passes(seed, 1_000) for seed in range(6)) <= 2


def test_rates_are_shares_of_the_pairs() -> None:
    judged = [("not-worse", 0, True, False), ("too-little-data", 900, True, True), ("worse", 0, False, False)] * 2
    expected = {"bulkhead": 1 / 3, "too little data": 1 / 3, "point estimates": 2 / 3, "change >= 0": 1 / 3}
    assert rates(judged) == pytest.approx(expected)


def _results() -> dict[str, Any]:
    def at(share: float) -> dict[str, dict[str, float]]:
        return {str(size): {"bulkhead": share} for size in gate.SIZES}

    pairs = {"equal": at(0.95), "worse by the margin": at(0.05), "worse by twice the margin": at(0.001)}
    return {
        "pairs": pairs,
        "refused_for_too_little_data": 1.0,
        "rows_asked_for_suffice": 0.9,
        "family": {str(size): 0.05 for size in gate.SIZES},
        "speed": {"times": 20},
    }


@pytest.mark.parametrize(
    ("path", "missed"),
    [
        (("pairs", "equal", "20000", "bulkhead"), 0.94),
        (("pairs", "worse by the margin", "2000", "bulkhead"), 0.051),
        (("pairs", "worse by twice the margin", "500", "bulkhead"), 0.002),
        (("refused_for_too_little_data",), 0.99),
        (("rows_asked_for_suffice",), 0.89),
        (("family", "500"), 0.051),
        (("speed", "times"), 19.9),
    ],
)
def test_each_bar_can_be_missed(path: tuple[str, ...], missed: float) -> None:
    results = _results()
    assert held(results)
    worse = copy.deepcopy(results)
    place = worse
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = missed
    assert not held(worse)
