"""``python -m benchmarks.gate``: what the gate passes and refuses falsely, where the truth is known.

Pairs of models are simulated that are right about 92 % of the rows, wrong about the same 5 % together (so their
predictions are correlated), and as good as each other but for what is said. Each pair is judged by

- ours: not worse by the margin, at ``alpha``;
- two point estimates: the candidate's accuracy is at least the champion's less the margin;
- a threshold on the change, as MLflow's ``MetricThreshold(min_absolute_change=0)`` and TFMA's
  ``GenericChangeThreshold`` of its tutorials (-1e-10): the candidate's accuracy is at least the champion's.

Then a family, three metrics on all rows and on ten slices, each worse by exactly its margin: how often any of them is
called "not worse". At last the rows that the bootstrap takes in a second, against ``scipy.stats.bootstrap`` by
percentiles (its quickest method), on the family that a gate has: three metrics, all rows and ten slices.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing import Pool
from typing import Any

import numpy as np
from scipy import stats

from bulkhead.gpu_tasks.gate.comparison import ALPHA, Comparison, ComparisonVerdict, compare
from bulkhead.gpu_tasks.gate.metrics import METRICS
from bulkhead.gpu_tasks.gate.resampling import Array, Difference, resample

SIZES = (500, 2_000, 20_000)
MARGIN = 0.03
"""So much 500 rows can tell with the errors below: of models that are worse by twice it one in a thousand may pass."""

WRONG, BOTH_WRONG = 0.08, 0.05
"""Shares of the rows: about which the champion is wrong, and about which the candidate is wrong as well."""

SLICES = 10
TRUTHS: Mapping[str, float] = {"equal": 0.0, "worse by the margin": MARGIN, "worse by twice the margin": 2 * MARGIN}
FAMILY = ("accuracy_score", "precision_score", "recall_score")

_TIMED_ROWS, _TIMED_RESAMPLES, _THEIR_RESAMPLES = 20_000, 5_000, 100


def models(rng: np.random.Generator, rows: int, worse: float) -> tuple[Array, Array]:
    """Whether candidate and champion are right, row by row.

    Args:
        rows: how many.
        worse: by so much the candidate's true accuracy is lower.

    Returns:
        Two arrays of bool, shape (rows,).
    """
    win, loss = WRONG - BOTH_WRONG, WRONG - BOTH_WRONG + worse
    kind = rng.choice(4, size=rows, p=(1 - win - loss - BOTH_WRONG, win, loss, BOTH_WRONG))
    return kind <= 1, (kind == 0) | (kind == 2)


def judge(seed: int, rows: int, worse: float) -> tuple[str, int, bool, bool]:
    """One pair of models, judged by each contender.

    Returns:
        Our verdict, the rows that it asks for (0 for none), and whether each of the two others passes it.
    """
    candidate, champion = models(np.random.default_rng(seed), rows, worse)
    metric = METRICS["accuracy_score"]
    ours, theirs = (side[:, None].astype(float) for side in (candidate, champion))
    (result,) = compare([Comparison(metric, ours, theirs, MARGIN)])
    difference = float(candidate.mean() - champion.mean())
    return result.verdict.value, result.rows_needed or 0, difference >= -MARGIN, difference >= 0


def enough(seed: int, rows: int) -> bool:
    """Whether so many rows as were asked for do, for an equally good candidate."""
    return judge(seed, rows, 0.0)[0] == ComparisonVerdict.NOT_WORSE


def any_passes(seed: int, rows: int) -> bool:
    """Whether any of a family is called "not worse" whose members are all worse by exactly the margin."""
    rng = np.random.default_rng(seed)
    candidate, champion = models(rng, rows, MARGIN)
    # Two classes, as many of each, and errors of both kinds alike: precision and recall are worse by the margin too.
    targets, part = rng.integers(0, 2, rows), rng.integers(0, SLICES, rows)
    predictions = [np.where(right, targets, 1 - targets) for right in (candidate, champion)]
    family = []
    for within in (None, *(part == number for number in range(SLICES))):
        for name in FAMILY:
            ours, theirs = (METRICS[name].contributions(targets, predicted) for predicted in predictions)
            family.append(Comparison(METRICS[name], ours, theirs, MARGIN, within=within))
    return any(result.passed for result in compare(family))


def rates(judged: Sequence[tuple[str, int, bool, bool]]) -> dict[str, float]:
    """Shares of the pairs that pass, by contender, and that ours has too little data for."""
    ours = [verdict for verdict, *_ in judged]
    return {
        "bulkhead": ours.count(ComparisonVerdict.NOT_WORSE) / len(ours),
        "too little data": ours.count(ComparisonVerdict.TOO_LITTLE_DATA) / len(ours),
        "point estimates": sum(point for _, _, point, _ in judged) / len(ours),
        "change >= 0": sum(change for *_, change in judged) / len(ours),
    }


def speed() -> dict[str, float]:
    """Rows times resamples times comparisons in a second, of both, on one family."""
    rng = np.random.default_rng(0)
    common = rng.gamma(2.0, size=(3, _TIMED_ROWS))
    candidate, champion = (common + rng.normal(0, 0.5, common.shape) for _ in range(2))
    part = rng.integers(0, SLICES, _TIMED_ROWS)
    slices = [None, *(part == number for number in range(SLICES))]
    family = [
        Difference(mine[:, None], theirs[:, None], lambda means: means[..., 0], within)
        for within in slices
        for mine, theirs in zip(candidate, champion, strict=True)
    ]
    rows = 3 * 2 * _TIMED_ROWS  # the slices hold all rows once more
    began = time.process_time()
    resample(family, _TIMED_RESAMPLES, 0)
    ours = rows * _TIMED_RESAMPLES / (time.process_time() - began)
    began = time.process_time()
    for result in family:
        within = slice(None) if result.within is None else result.within
        stats.bootstrap(
            (result.candidate[within, 0], result.champion[within, 0]),
            lambda mine, theirs, axis: mine.mean(axis=axis) - theirs.mean(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=_THEIR_RESAMPLES,
            batch=_THEIR_RESAMPLES,
            method="percentile",
        )
    theirs = rows * _THEIR_RESAMPLES / (time.process_time() - began)
    return {"bulkhead": round(ours), "scipy": round(theirs), "times": round(ours / theirs, 1)}


def held(results: Mapping[str, Any]) -> bool:
    """Whether every bar was: of the whole ``results``, as ``main`` prints them."""
    pairs, sizes = results["pairs"], [str(size) for size in SIZES]
    return (
        all(pairs["worse by the margin"][size]["bulkhead"] <= ALPHA for size in sizes)
        and all(pairs["worse by twice the margin"][size]["bulkhead"] <= 0.001 for size in sizes)
        and pairs["equal"][sizes[-1]]["bulkhead"] >= 0.95
        and results["refused_for_too_little_data"] == 1.0
        and results["rows_asked_for_suffice"] >= 0.9
        and all(share <= ALPHA for share in results["family"].values())
        and results["speed"]["times"] >= 20
    )


def main() -> int:
    """Run everything, print one JSON line, and return whether the bars were held as an exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.gate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=2_000, help="of models, for each truth and size")
    parser.add_argument("--processes", type=int, default=None)
    arguments = parser.parse_args()
    results: dict[str, Any] = {"metric": "gate", "alpha": ALPHA, "margin": MARGIN, "speed": speed()}
    pairs: dict[str, dict[str, Any]] = {}
    with Pool(arguments.processes) as pool:
        seed = 0
        for truth, worse in TRUTHS.items():
            for rows in SIZES:
                judged = pool.map(partial(judge, rows=rows, worse=worse), range(seed, seed + arguments.pairs), 20)
                pairs.setdefault(truth, {})[str(rows)] = rates(judged)
                print(truth, rows, pairs[truth][str(rows)], file=sys.stderr, flush=True)
                if truth == "equal" and rows == SIZES[0]:
                    refused = [asked for verdict, asked, *_ in judged if verdict != ComparisonVerdict.NOT_WORSE]
                seed += arguments.pairs
        asked = [rows for rows in refused if rows]
        tried = pool.starmap(enough, [(seed + number, rows) for number, rows in enumerate(asked)], 20)
        seed += len(asked)
        family = {}
        for rows in SIZES:
            passed = pool.map(partial(any_passes, rows=rows), range(seed, seed + arguments.pairs), 5)
            family[str(rows)] = sum(passed) / len(passed)
            print("family", rows, family[str(rows)], file=sys.stderr, flush=True)
            seed += arguments.pairs
    results |= {
        "pairs": pairs,
        "refused_for_too_little_data": len(asked) / len(refused),
        "rows_asked_for": float(np.median(asked)),
        "rows_asked_for_suffice": sum(tried) / len(tried),
        "family": family,
    }
    results["held"] = held(results)
    print(json.dumps(results))
    return 0 if results["held"] else 1


if __name__ == "__main__":
    sys.exit(main())
