"""What a rule finds, and how the chance of a false alarm is shared out among the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bulkhead.events import Rule

SHARES: Mapping[Rule, float] = {
    Rule.ERRORS: 0.3,
    Rule.MORE_ERRORS: 0.26,
    Rule.CLIENT_ERRORS: 0.04,
    Rule.LATENCY: 0.12,
    Rule.SLOWER: 0.12,
    Rule.INVALID: 0.04,
    Rule.DRIFT: 0.04,
    Rule.DISAGREEMENT: 0.04,
    Rule.BURN: 0.04,
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

    rule: Rule
    strength: float
    reason: str
    shared: str = ""
    over: bool = False
