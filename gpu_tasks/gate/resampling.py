"""The paired bootstrap: how a difference of two metrics would vary with other rows, in one pass for a whole family.

A metric is a function of means of what each row contributes (``metrics``). So all of its resamples come of one product:
weights (resamples, rows) times contributions (rows, columns), where candidate and champion share the weights, which
makes it paired, and so do all metrics and slices. Weights are Poisson(1) in place of multinomial counts (Chamandy,
Muralidharan, Najmi & Naidu, Estimating Uncertainty for Massive Data Streams, 2012). Where many rows are equal they
become one, whose weight is Poisson(count). P-values and intervals are those of BCa (Efron, JASA 82, 1987), its
acceleration by the jackknife, but for two things that keep them honest where few rows differ. The acceleration never
makes a claim easier, since it is itself estimated from those few. And Student's t is in the place of the normal
distribution (Hesterberg, The American Statistician 69, 2015, section 5.3), its degrees of freedom the rows that matter
less one: the others say nothing of how much the difference varies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import beta, norm
from scipy.stats import t as student

Array = np.ndarray[Any, Any]
Value = Callable[[Array], Array]

_BATCH_WEIGHTS = 2**21
"""Weights that are in memory at once."""

_WORTH_GROUPING = 32
"""So many rows a group, on average, from which on a weight a group is drawn sooner than one a row."""

_BYTES = bytes(np.repeat(np.arange(6, dtype=np.uint8), (93, 98, 43, 17, 4, 1)))
"""A row's weight by a random byte, so that one random number makes eight. Its mean and variance are 1, its third moment
5.008 where Poisson(1) has 5: any such weights make as good resamples (Praestgaard & Wellner, Annals of Probability 21,
1993)."""


@dataclass(frozen=True)
class Difference:
    """What is compared.

    Attributes:
        candidate: what each row contributes to the candidate's metric, shape (rows, columns).
        champion: likewise; it may have other columns, for instance of classes that only it predicts.
        value: the metric from the means of the columns, of shape (…, columns); returns shape (…).
        within: whether each row is of the slice, shape (rows,); None for all.
    """

    candidate: Array
    champion: Array
    value: Value
    within: Array | None = None


@dataclass(frozen=True)
class Resampled:
    """A difference of two metrics, candidate minus champion, and how it varies with the rows.

    Attributes:
        candidate: its metric.
        champion: its metric.
        resamples: the difference in each, in rising order.
        left_out: the difference without one of each group of equal rows, shape (groups,).
        counts: rows of each group.
        reach: by how much the share of one row more can change either metric: the range of influences.
    """

    candidate: float
    champion: float
    resamples: Array
    left_out: Array
    counts: Array
    reach: float

    @property
    def rows(self) -> int:
        """Of all groups."""
        return int(self.counts.sum())

    @property
    def value(self) -> float:
        """The difference."""
        return self.candidate - self.champion

    @cached_property
    def variance_of_a_row(self) -> float:
        """Variance of the difference times the rows, by the jackknife: what ``rows_needed`` is computed from."""
        return (self.rows - 1) * float(self.counts @ self._influences**2)

    @cached_property
    def rows_that_matter(self) -> float:
        """How many rows make up the difference's variance: of influences u, (sum of u²)² / sum of u⁴.

        Of a difference of shares it is the rows on which candidate and champion differ; 0 where they are alike.
        """
        square, fourth = (float(self.counts @ self._influences**power) for power in (2, 4))
        return square**2 / fourth if fourth > 0 else 0.0

    def p_at_most(self, bound: float, sure: float) -> float:
        """How likely so large a difference is at least, were the true one ``bound`` or less.

        Args:
            bound: in the metric's unit.
            sure: probability that more resamples would not make it larger.

        Returns:
            The p-value.
        """
        return self._p(int(np.searchsorted(self.resamples, bound + self._grain, side="right")), sure, 1)

    def p_at_least(self, bound: float, sure: float) -> float:
        """How likely so small a difference is at most, were the true one ``bound`` or more.

        Args:
            bound: in the metric's unit.
            sure: see ``p_at_most``.

        Returns:
            The p-value.
        """
        below = int(np.searchsorted(self.resamples, bound - self._grain, side="left"))
        return self._p(len(self.resamples) - below, sure, -1)

    def interval(self, alpha: float) -> tuple[float, float]:
        """The BCa interval.

        Args:
            alpha: on each side.

        Returns:
            Its ends.
        """
        ends = []
        for sign in (1, -1):
            z = sign * self._bias + float(self._spread.ppf(alpha))
            share = norm.cdf(sign * self._bias + z / (1 - min(sign * self._acceleration, 0) * z))
            ends.append(float(np.quantile(self.resamples, share if sign > 0 else 1 - share)))
        return ends[0], ends[1]

    def _p(self, beyond: int, sure: float, sign: int) -> float:
        """From the number of resamples beyond a bound; -1 for the upper tail."""
        total = len(self.resamples)
        if beyond == total:
            return 1.0
        share = float(beta.ppf(sure, beyond + 1, total - beyond))
        bias, acceleration = sign * self._bias, min(sign * self._acceleration, 0)
        z = float(norm.ppf(share)) - bias
        scale = 1 + acceleration * z
        return float(self._spread.cdf(z / scale - bias)) if scale > 0 else 1.0

    @cached_property
    def _spread(self) -> Any:
        return student(max(self.rows_that_matter - 1, 1))

    @cached_property
    def _influences(self) -> Array:
        """By how much the difference is larger with a row than without, less what it is on average."""
        return float(self.counts @ self.left_out) / self.rows - self.left_out

    @cached_property
    def _grain(self) -> float:
        """So little apart, differences are equal but for rounding: ties count against what is claimed."""
        return 1e-4 * float(np.nanstd(self.resamples)) + 2e-7 * max(abs(self.candidate), abs(self.champion))

    @cached_property
    def _bias(self) -> float:
        total = len(self.resamples)
        below = np.searchsorted(self.resamples, self.value - self._grain, side="left")
        not_above = np.searchsorted(self.resamples, self.value + self._grain, side="right")
        return float(norm.ppf(min(max((below + not_above) / (2 * total), 0.5 / total), 1 - 0.5 / total)))

    @cached_property
    def _acceleration(self) -> float:
        square, cube = (float(self.counts @ self._influences**power) for power in (2, 3))
        return cube / (6 * square**1.5) if square > 0 else 0.0


def resample(differences: Sequence[Difference], resamples: int, seed: int) -> list[Resampled]:
    """Resample the rows, the same for all differences.

    Args:
        differences: of the same rows.
        resamples: how often.
        seed: makes it repeatable.

    Returns:
        One for each difference.
    """
    by_slice: dict[bytes, list[int]] = {}
    for index, difference in enumerate(differences):
        by_slice.setdefault(b"" if difference.within is None else difference.within.tobytes(), []).append(index)
    columns = [_columns([differences[index] for index in indices]) for indices in by_slice.values()]
    first, counts = _groups(np.concatenate(columns, axis=1))
    in_order = np.lexsort([mine[first, 0] for mine in columns])  # slices that share no row are contiguous
    first, counts = first[in_order], counts[in_order]
    slices = [_Slice(mine[first], counts) for mine in columns]
    for weights in _weights(counts, resamples, np.random.Generator(np.random.SFC64(seed))):
        for one_slice in slices:
            one_slice.add(weights)
    resampled: dict[int, Resampled] = {}
    for indices, one_slice in zip(by_slice.values(), slices, strict=True):
        resampled |= zip(indices, one_slice.resampled([differences[index] for index in indices]), strict=True)
    return [resampled[index] for index in range(len(differences))]


class _Slice:
    """Sums over the rows of a slice: of all, of each resample, and of all but one."""

    def __init__(self, columns: Array, counts: Array) -> None:
        inside = columns[:, 0] > 0
        members = np.flatnonzero(inside)
        together = len(members) > 0 and members[-1] - members[0] + 1 == len(members)  # then they need no copy
        self._members = slice(members[0], members[-1] + 1) if together else members
        self._columns, self._counts = columns[inside], counts[inside]
        self._single = np.ascontiguousarray(self._columns, dtype=np.float32)
        self._drawn: list[Array] = []

    def add(self, weights: Array) -> None:
        self._drawn.append((weights[:, self._members] @ self._single).astype(float))

    def resampled(self, differences: Sequence[Difference]) -> Iterator[Resampled]:
        whole, drawn = self._counts @ self._columns, np.concatenate(self._drawn)
        begin = 1
        for difference in differences:
            middle = begin + difference.candidate.shape[1]
            end = middle + difference.champion.shape[1]
            ours, theirs = slice(begin, middle), slice(middle, end)
            begin = end

            def metrics(
                sums: Array, value: Value = difference.value, ours: slice = ours, theirs: slice = theirs
            ) -> Any:
                with np.errstate(invalid="ignore", divide="ignore"):
                    return value(sums[..., ours] / sums[..., :1]), value(sums[..., theirs] / sums[..., :1])

            candidate, champion = metrics(whole)
            each, without = np.subtract(*metrics(drawn)), metrics(whole - self._columns)
            yield Resampled(
                float(candidate),
                float(champion),
                np.sort(each),
                np.subtract(*without),
                self._counts.astype(float),
                float((self._counts.sum() - 1) * max(np.ptp(side) for side in without)),
            )


def _columns(differences: Sequence[Difference]) -> Array:
    """Whether a row is of the slice, then all contributions side by side, those of rows outside of it 0."""
    within = differences[0].within
    inside = np.ones(len(differences[0].candidate)) if within is None else within.astype(float)
    sides = [side for difference in differences for side in (difference.candidate, difference.champion)]
    return np.concatenate([inside[:, None], *(np.where(inside[:, None] > 0, side, 0.0) for side in sides)], axis=1)


def _groups(columns: Array) -> tuple[Array, Array]:
    """The first of each group of equal rows, and how many each has; each row by itself where that is as well."""
    mixed = columns @ np.random.default_rng(0).random(columns.shape[1])
    _, first, group, counts = np.unique(mixed, return_index=True, return_inverse=True, return_counts=True)
    worth = len(first) * _WORTH_GROUPING <= len(columns)
    if worth and np.array_equal(columns[first][group], columns):  # else two rows that differ have one sum
        return first, counts
    return np.arange(len(columns)), np.ones(len(columns), dtype=int)


def _weights(counts: Array, resamples: int, rng: np.random.Generator) -> Iterator[Array]:
    """Weights of the groups, shape (some resamples, groups), until all resamples are drawn."""
    batch = max(1, _BATCH_WEIGHTS // len(counts))
    for begin in range(0, resamples, batch):
        size = (min(batch, resamples - begin), len(counts))
        if (counts > 1).any():
            yield rng.poisson(counts, size=size).astype(np.float32)
            continue
        drawn = rng.integers(0, 2**64, size=-(-size[0] * size[1] // 8), dtype=np.uint64).tobytes()
        weights = np.frombuffer(drawn.translate(_BYTES), dtype=np.uint8)[: size[0] * size[1]]
        yield weights.reshape(size).astype(np.float32)
