"""Tests that hold at any moment: looking once a second, and stopping when it looks bad, inflates nothing.

Each is an *e-process*: a number that starts at 1, and whose expectation stays at most 1 at every stopping time for as
long as the candidate is healthy. So the chance that it ever reaches ``1 / alpha`` is at most ``alpha``, however often
it is looked at (Ville's inequality). Both are likelihood ratios against the worst healthy case, averaged over a fixed
grid of alternatives (the method of mixtures). They depend on the counts so far alone, not on the polls in between.

Sources: Ville 1939; Robbins 1970, "Statistical methods related to the law of the iterated logarithm"; Johari, Pekelis
and Walsh 2015 (mSPRT); Ramdas, Grünwald, Vovk and Shafer 2023, "Game-theoretic statistics and safe anytime-valid
inference".
"""

from __future__ import annotations

import math

ALTERNATIVES = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
"""By how much the odds may have grown, each as likely as the others before anything was seen."""


def share_above(events: int, trials: int, limit: float) -> float:
    """Evidence that a share is above a limit.

    Sound is: each trial is an event with a probability of at most ``limit``, given all before it.

    Args:
        limit: share that is still healthy, between 0 and 1, both excluded.

    Returns:
        The natural logarithm of the e-value.
    """
    return _mixture(events, trials - events, limit)


def label_above(candidate: int, stable: int, weight: float, ratio: float = 1.0) -> float:
    """Evidence that an event befalls the candidate's requests more often than stable's.

    Of each event only its label counts: whose request it was. Requests are shared out at random, so where both
    revisions are alike, an event is the candidate's with the candidate's share of the traffic, *whatever the rate of
    events is and however it changes*: an incident that befalls both is no evidence at all.

    Args:
        candidate: events of the candidate.
        stable: events of stable, over the same time.
        weight: the candidate's share of the traffic, between 0 and 1, both excluded; the same all the time.
        ratio: how many times as often they may befall the candidate; at least 1.

    Returns:
        The natural logarithm of the e-value.
    """
    return _mixture(candidate, stable, weight * ratio / (weight * ratio + 1 - weight))


def _mixture(hits: int, misses: int, limit: float) -> float:
    """Log of the mean likelihood ratio of the alternatives to ``limit``."""
    odds = limit / (1 - limit)
    terms = []
    for factor in ALTERNATIVES:
        share = odds * factor / (1 + odds * factor)
        terms.append(hits * math.log(share / limit) + misses * math.log((1 - share) / (1 - limit)))
    highest = max(terms)
    return highest + math.log(sum(math.exp(term - highest) for term in terms) / len(terms))
