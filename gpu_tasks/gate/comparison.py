"""Candidate against champion on the same rows: not worse by the margin, worse, or too little data to tell.

Each metric of each slice is one comparison, and all of them are one family: p-values are Holm's (Scandinavian Journal
of Statistics 6, 1979), so that the probability of calling any one "not worse" that is worse is at most alpha. A family
passes where every comparison of it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import binom, norm

from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.gate import proportions
from bulkhead.gpu_tasks.gate.metrics import Array, Metric
from bulkhead.gpu_tasks.gate.resampling import Difference, Resampled, resample

ALPHA = 0.05
RESAMPLES = 5_000

_MORE = 4
"""So many times the resamples, where it takes them to decide."""

_SURE = 0.99
"""That a p-value, which is itself estimated by resampling, is no larger: another seed does not undo what it says."""

_ROOM = 1.25
"""P-values count so much larger than computed: room for what a simulation and a grid are not exact about, so that what
passes falsely stays below alpha also where it is counted (``benchmarks.gate``)."""

_LEAST_ROWS = 30
"""Under it resamples say little about rows that were not seen."""

_FEW_MATTER = 5
"""Rows that make up the difference, under which it is their number that is judged: see ``_p_of_so_few``."""

_MISSED = 0.05
"""Share of equally good candidates that ``rows_needed`` rows still refuse."""


class ComparisonVerdict(StrEnum):
    """What a comparison says of the candidate."""

    NOT_WORSE = "not-worse"
    BETTER = "better"
    WORSE = "worse"
    TOO_LITTLE_DATA = "too-little-data"


@dataclass(frozen=True)
class Comparison:
    """One metric on one slice, of candidate and champion.

    Attributes:
        metric: what is compared.
        candidate: contributions of its rows, shape (rows, columns), as ``metric.contributions`` returns them.
        champion: likewise, of the same rows.
        margin: by so much, in the metric's unit, the candidate may be worse; for ``superiority`` it is not used.
        superiority: whether the candidate has to be better than the champion.
        slice_name: empty for all rows.
        within: whether each row is of the slice, shape (rows,); None for all.
    """

    metric: Metric
    candidate: Array
    champion: Array
    margin: float
    superiority: bool = False
    slice_name: str = ""
    within: Array | None = None

    @property
    def allowed(self) -> float:
        """By so much the candidate may be worse."""
        return 0.0 if self.superiority else self.margin

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.metric.name} of {self.slice_name}" if self.slice_name else self.metric.name


@dataclass(frozen=True)
class ComparisonResult:
    """What a comparison found.

    Attributes:
        comparison: what was compared.
        verdict: what it says.
        rows: rows of the slice.
        candidate: its metric.
        champion: its metric.
        low: lower end of the interval of the difference, candidate minus champion, in step with the verdict.
        high: upper end.
        p: that so good a candidate is worse by the margin, for this comparison alone.
        adjusted_p: the same for the family.
        rows_needed: in the whole data, with which an equally good candidate (for superiority: one as much better as
            this one seems) passes; None where the verdict is another, or where no number of rows would do.
    """

    comparison: Comparison
    verdict: ComparisonVerdict
    rows: int
    candidate: float
    champion: float
    low: float
    high: float
    p: float
    adjusted_p: float
    rows_needed: int | None = None

    @property
    def difference(self) -> float:
        """Candidate minus champion."""
        return self.candidate - self.champion

    @property
    def passed(self) -> bool:
        """Whether it lets the candidate pass."""
        return self.verdict in (ComparisonVerdict.NOT_WORSE, ComparisonVerdict.BETTER)


def compare(
    comparisons: Sequence[Comparison], alpha: float = ALPHA, resamples: int = RESAMPLES, seed: int = 0
) -> list[ComparisonResult]:
    """Compare candidate and champion.

    Args:
        comparisons: the family, of the same rows.
        alpha: probability that any comparison passes which should not.
        resamples: of the rows, at least; more where the family is large, or where it takes more to decide.
        seed: makes it repeatable.

    Returns:
        One result for each.

    Raises:
        GateError: a margin is out of range, a slice is empty, or a metric is not a number.
    """
    for comparison in comparisons:
        _check(comparison)
    exact = [_Exact(comparison) if _few(comparison) else None for comparison in comparisons]
    estimated = [_gain(comparison) for comparison, evidence in zip(comparisons, exact, strict=True) if evidence is None]
    # Fewer could not show what a member of so large a family has to.
    least = max(resamples, math.ceil(-2 * math.log(1 - _SURE) * _ROOM * len(comparisons) / alpha))
    for number in (least, _MORE * least):
        drawn = iter(resample(estimated, number, seed)) if estimated else iter(())
        members = [
            evidence or _Estimated(member, next(drawn)) for member, evidence in zip(comparisons, exact, strict=True)
        ]
        decided = _decide(members, alpha, _SURE)
        if not any(map(_may_change, decided, _decide(members, alpha, 0.5))):
            break
    return [_result(*pair, alpha, len(members)) for pair in zip(members, decided, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being a family.

    Args:
        p_values: of the comparisons.

    Returns:
        Adjusted ones, in the same order: what is at most alpha is rejected.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


class _Exact:
    """Evidence of a proportion, where few rows differ."""

    def __init__(self, comparison: Comparison) -> None:
        candidate, champion = _inside(comparison)
        self.comparison, self.rows = comparison, len(candidate)
        self.candidate, self.champion = float(candidate.mean()), float(champion.mean())
        self.reach = 1.0
        self._wins, self._losses = int((candidate > champion).sum()), int((candidate < champion).sum())
        seen = (self._wins, self._losses, self.rows, comparison.allowed)
        self._p = proportions.p_worse_by_margin(*seen), proportions.p_within_margin(*seen)

    def p_values(self, sure: float) -> tuple[float, float]:
        """Of "worse by the margin" and of "not", whatever the sureness."""
        return self._p

    @property
    def variance_of_a_row(self) -> float:
        """As of one more win and one more loss: that none was seen does not say that there is none."""
        return (self._wins + self._losses + 2) / self.rows

    def interval(self, alpha: float) -> tuple[float, float]:
        return proportions.interval(self._wins, self._losses, self.rows, alpha)


class _Estimated:
    """Evidence by resampling."""

    def __init__(self, comparison: Comparison, resampled: Resampled) -> None:
        self.comparison, self._resampled = comparison, resampled
        self._sign = comparison.metric.sign
        self.rows = resampled.rows
        self.reach = max(1.0, resampled.reach) if comparison.metric.bounded else resampled.reach
        self.candidate, self.champion = self._sign * resampled.candidate, self._sign * resampled.champion
        matter = resampled.rows_that_matter
        more = (matter + 2) / max(1.0, matter)  # as of two that were not seen
        self.variance_of_a_row = more * resampled.variance_of_a_row
        self._known = self.rows >= _LEAST_ROWS and bool(np.isfinite(resampled.resamples[-1]))

    def p_values(self, sure: float) -> tuple[float, float]:
        """Of "worse by the margin" and of "not"."""
        if not self._known:
            return 1.0, 1.0
        allowed, resampled = self.comparison.allowed, self._resampled
        if resampled.rows_that_matter < _FEW_MATTER:
            return _p_of_so_few(math.ceil(resampled.rows_that_matter), self.rows, allowed, self.reach), 1.0
        return resampled.p_at_most(-allowed, sure), resampled.p_at_least(-allowed, sure)

    def interval(self, alpha: float) -> tuple[float, float]:
        low, high = self._resampled.interval(alpha)
        return (low, high) if self._sign > 0 else (-high, -low)


def _check(comparison: Comparison) -> None:
    if not (math.isfinite(comparison.margin) and comparison.margin >= 0):
        raise GateError(f"margin of {comparison.name} = {comparison.margin}: give a number from 0 up")
    candidate, champion = _inside(comparison)
    if not len(candidate):
        raise GateError(f"{comparison.name}: no row is in it; give other slices, or other data")
    for whose, contributions in (("candidate", candidate), ("champion", champion)):
        value = float(comparison.metric.value(contributions.mean(axis=0)))
        if not math.isfinite(value):
            raise GateError(f"{comparison.name} of the {whose} is {value} on {len(candidate)} rows, which is no number")


def _inside(comparison: Comparison) -> tuple[Array, Array]:
    within = slice(None) if comparison.within is None else comparison.within.astype(bool)
    return comparison.candidate[within], comparison.champion[within]


def _few(comparison: Comparison) -> bool:
    """Whether there is an exact test, and it is soon done."""
    if not comparison.metric.proportion:
        return False
    candidate, champion = _inside(comparison)
    return int((candidate != champion).sum()) <= proportions.FEW


@dataclass(frozen=True)
class _Decision:
    """The verdict of a comparison, and the p-values that it rests on; see ``ComparisonResult``."""

    verdict: ComparisonVerdict
    p: float
    adjusted_p: float


def _decide(members: Sequence[_Exact | _Estimated], alpha: float, sure: float) -> list[_Decision]:
    p_values = [tuple(min(1.0, _ROOM * p) for p in member.p_values(sure)) for member in members]
    adjusted, adjusted_worse = (holm([pair[side] for pair in p_values]) for side in (0, 1))
    return [
        _Decision(_verdict(evidence.comparison, ours, worse, alpha), p, ours)
        for evidence, (p, _), ours, worse in zip(members, p_values, adjusted, adjusted_worse, strict=True)
    ]


def _verdict(comparison: Comparison, adjusted_p: float, adjusted_worse: float, alpha: float) -> ComparisonVerdict:
    if adjusted_p <= alpha:
        return ComparisonVerdict.BETTER if comparison.superiority else ComparisonVerdict.NOT_WORSE
    return ComparisonVerdict.WORSE if adjusted_worse <= alpha else ComparisonVerdict.TOO_LITTLE_DATA


def _gain(comparison: Comparison) -> Difference:
    """What is resampled: larger is better."""
    metric = comparison.metric
    gain = metric.value if metric.greater_is_better else lambda means: -metric.value(means)
    return Difference(comparison.candidate, comparison.champion, gain, comparison.within)


def _p_of_so_few(differing: int, rows: int, allowed: float, reach: float) -> float:
    """How likely the two differ on so few rows at most, were the candidate worse by the margin.

    For that they have to differ on a share of the rows of at least the margin, by what one row can change the metric.
    """
    if not reach:
        return 1.0
    return float(binom.cdf(differing, rows, min(1.0, allowed / reach)))


def _may_change(sure: _Decision, likely: _Decision) -> bool:
    """Whether a verdict rests on so few resamples that more may well halve its p-value, and change it."""
    return sure.verdict is not likely.verdict and likely.p < sure.p / 2


def _result(evidence: _Exact | _Estimated, decided: _Decision, alpha: float, family: int) -> ComparisonResult:
    more_rows_help = decided.verdict is ComparisonVerdict.TOO_LITTLE_DATA
    return ComparisonResult(
        evidence.comparison,
        decided.verdict,
        evidence.rows,
        evidence.candidate,
        evidence.champion,
        *evidence.interval(alpha / _ROOM),
        decided.p,
        decided.adjusted_p,
        _rows_needed(evidence, alpha, family) if more_rows_help else None,
    )


def _rows_needed(evidence: _Exact | _Estimated, alpha: float, family: int) -> int | None:
    """Rows with which the test, by its normal approximation, has its power for all of the family at once."""
    comparison = evidence.comparison
    gain = (
        comparison.metric.sign * (evidence.candidate - evidence.champion)
        if comparison.superiority
        else comparison.allowed
    )
    if gain <= 0 or not math.isfinite(evidence.variance_of_a_row):
        return None
    level = alpha / _ROOM / family
    z = float(norm.isf(level) + norm.isf(_MISSED / family))
    needed = max(_LEAST_ROWS, math.ceil(evidence.variance_of_a_row * (z / gain) ** 2))
    share = min(comparison.allowed / evidence.reach, 0.5) if evidence.reach else 0.0
    if share:  # with fewer, not even models that never differ would pass
        needed = max(needed, math.ceil(math.log(level) / math.log1p(-share)) + 1)
    return math.ceil(needed * len(comparison.candidate) / evidence.rows)
