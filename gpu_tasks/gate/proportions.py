"""Two shares on the same rows: how often the candidate is right, and how often the champion is.

Only rows on which the two differ say anything: ``wins`` (the candidate alone is right) and ``losses`` (the champion
alone is). The test of "worse by at least a margin" is exact: the probability of what was seen is summed over all
tables, for the least favourable way to be worse by exactly the margin (Hsueh, Liu & Chen, Biometrics 57, 2001), where
tables are ordered by Tango's score (Statistics in Medicine 17, 1998), and the ways are those that the losses do not
rule out (Berger & Boos, JASA 89, 1994).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, xlogy
from scipy.stats import beta, binom, norm

FEW = 300
"""Rows that differ, up to which the exact test is used: beyond it resampling says the same, sooner."""

_RULED_OUT = 1e-5
"""Probability that the true share of losses is not among those looked at; the p-value is larger by it."""

_WAYS = 30
"""Shares of losses that are tried; the p-value is smooth in it."""

_EDGE = 1e-9


def p_worse_by_margin(wins: int, losses: int, rows: int, margin: float) -> float:
    """How likely so good a result is at least, were the candidate worse by the margin or more.

    Args:
        wins: rows on which the candidate alone is right.
        losses: rows on which the champion alone is right.
        rows: all rows.
        margin: as a difference of shares, from 0 up; for 0 the test is McNemar's exact one (Psychometrika 12, 1947).

    Returns:
        The p-value.
    """
    if margin == 0:
        return float(binom.sf(wins - 1, wins + losses, 0.5))
    return _exact(wins, losses, rows, margin, better=True)


def p_within_margin(wins: int, losses: int, rows: int, margin: float) -> float:
    """How likely so poor a result is at least, were the candidate worse by less than the margin.

    Args:
        wins: see ``p_worse_by_margin``, as the others.

    Returns:
        The p-value.
    """
    if margin == 0:
        return float(binom.cdf(wins, wins + losses, 0.5))
    return _exact(wins, losses, rows, margin, better=False)


def interval(wins: int, losses: int, rows: int, alpha: float) -> tuple[float, float]:
    """Tango's score interval of the difference of the shares, candidate minus champion.

    Args:
        alpha: on each side.

    Returns:
        Its ends.
    """
    z, difference = float(norm.isf(alpha)), (wins - losses) / rows

    def end(sign: int) -> float:
        def beyond(at: float) -> float:
            return float(_score(np.array(wins), np.array(losses), rows, -at)) - sign * z

        edge = -1 + _EDGE if sign > 0 else 1 - _EDGE
        # The score falls as the assumed difference grows; at the edge it may never reach z.
        return float(brentq(beyond, edge, difference)) if beyond(edge) * beyond(difference) < 0 else edge

    return end(1), end(-1)


def _score(wins: Any, losses: Any, rows: int, margin: float) -> Any:
    """Standardised distance from being worse by exactly the margin; the variance is that of the likeliest such way."""
    b = wins + losses + (2 * rows - wins + losses) * margin
    root = np.sqrt(np.maximum(b * b - 8 * rows * losses * margin * (1 + margin), 0))
    share = (b + root) / (4 * rows)
    variance = rows * (2 * share - margin * (1 + margin))
    return (wins - losses + rows * margin) / np.sqrt(np.maximum(variance, _EDGE))


def _exact(wins: int, losses: int, rows: int, margin: float, better: bool) -> float:
    low = 0.0 if losses == 0 else float(beta.ppf(_RULED_OUT / 2, losses, rows - losses + 1))
    high = 1.0 if losses == rows else float(beta.ppf(1 - _RULED_OUT / 2, losses + 1, rows - losses))
    low, high = max(low, margin), min(high, (1 + margin) / 2)
    if low > high:  # not one way to be worse by the margin agrees with so few losses, or so many
        return _RULED_OUT if better == (high < margin) else 1.0
    ways = np.linspace(low, high, _WAYS)
    most_wins, most_losses = (int(binom.ppf(1 - 1e-7, rows, min(share, 1.0))) for share in (high - margin, high))
    win, loss = np.meshgrid(np.arange(most_wins + 1), np.arange(most_losses + 1), indexing="ij")
    scores, seen = _score(win, loss, rows, margin), float(_score(np.array(wins), np.array(losses), rows, margin))
    extreme = (scores >= seen - _EDGE if better else scores <= seen + _EDGE) & (win + loss <= rows)
    win, loss = win[extreme], loss[extreme]
    tied = rows - win - loss
    tables = gammaln(rows + 1) - gammaln(win + 1) - gammaln(loss + 1) - gammaln(tied + 1)
    likely = [
        np.exp(tables + xlogy(win, way - margin) + xlogy(loss, way) + xlogy(tied, 1 - 2 * way + margin)).sum()
        for way in ways
    ]
    return min(1.0, float(max(likely)) + _RULED_OUT)
