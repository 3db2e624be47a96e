"""What a rule finds, and how the chance of a false alarm is shared out among the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SHARES: Mapping[str, float] = {
    "errors": 0.3,
    "more-errors": 0.26,
    "client-errors": 0.04,
    "latency": 0.12,
    "slower": 0.12,
    "invalid": 0.04,
    "drift": 0.04,
    "disagreement": 0.04,
    "burn": 0.04,
}
"""Each rule's share of ``plan.alpha``. They are fixed, so that a rule whose data come late changes nothing."""


@dataclass(frozen=True)
class Finding:
    """What one rule found.

    Attributes:
        rule: its name, of ``SHARES``.
        strength: of the evidence against the candidate: the natural logarithm of an e-value.
        reason: one sentence with the numbers.
        shared: what speaks against stable in the same way, or an empty string.
        over: whether the candidate is over the limit as it looks, be it by chance: it cannot pass then.
    """

    rule: str
    strength: float
    reason: str
    shared: str = ""
    over: bool = False
