"""Kinds of intents and events, and the rules that decide about a rollout: what the ledger and the configuration hold.

A phase of a rollout (``bulkhead.ledger.tables.Phase``) is the kind of the event that it begins with.
"""

from __future__ import annotations

import enum


class IntentKind(enum.StrEnum):
    """What is asked for."""

    ROLLOUT = "rollout"
    ROLLBACK = "rollback"
    WITHDRAW = "withdraw"
    """That an owner's rollouts are rolled back, those that it has yet to ask for included."""
    APPROVE = "approve"
    PROMOTE = "promote"
    """That a rollout goes to the last step of its plan at once."""
    ISOLATE = "isolate"
    UNISOLATE = "unisolate"


class EventKind(enum.StrEnum):
    """What an event of the ledger tells of, besides phases."""

    APPROVED = "approved"
    SKIPPING = "skipping"
    """A person has a rollout go to its last step at once."""
    PASSED = "passed"
    """A step has passed, or goes on without enough evidence as its plan has it."""
    WAITING = "waiting"
    ROLLBACK = "rollback"
    """A rollout is on its way back."""
    REPAIR = "repair"
    """What serves was started again."""
    DRIFT = "drift"
    """Another writer has changed what serves."""
    FAILING = "failing"
    """Work for a service fails."""
    RECOVERED = "recovered"
    ISOLATE = "isolate"
    """An isolation was asked for."""
    ISOLATED = "isolated"
    """One level of it is in force."""
    UNISOLATE = "unisolate"
    """The end of an isolation was asked for."""
    UNISOLATED = "unisolated"
    """One level of it is in force no more."""
    GATE_VERDICT = "gate-verdict"
    """The evaluate gate has let a model pass, or refused it."""
    GATE_OVERRIDE = "gate-override"
    """A person lets a model pass the gate."""
    QUARANTINE_REFUSED = "quarantine-refused"
    """The budget is spent. Other kinds that begin with ``quarantine-`` end in the phase of the quarantine."""


class Rule(enum.StrEnum):
    """What a verdict or a rollback rests on; ``isolation`` of a service names some."""

    # Tests of the candidate, each with a share of the plan's alpha
    ERRORS = "errors"
    MORE_ERRORS = "more-errors"
    CLIENT_ERRORS = "client-errors"
    LATENCY = "latency"
    SLOWER = "slower"
    INVALID = "invalid"
    DRIFT = "drift"
    DISAGREEMENT = "disagreement"
    BURN = "burn"
    # Other tests
    GROUND_TRUTH = "ground-truth"
    NOT_JUDGED = "not-judged"
    WITHIN_LIMITS = "within-limits"
    # Why a step holds
    NO_DATA = "no-data"
    NO_ANSWERS = "no-answers"
    NO_GROUND_TRUTH = "no-ground-truth"
    MIN_REQUESTS = "min-requests"
    MIN_TIME = "min-time"
    SATURATED = "saturated"
    STABLE_FAILS_TOO = "stable-fails-too"
    # Why a rollout ends otherwise
    NOT_SERVING = "not-serving"
    DEVICE = "device"
    APPROVAL = "approval"
    METRICS_UNAVAILABLE = "metrics-unavailable"
    UNAVAILABLE = "unavailable"
    PROGRESS_DEADLINE = "progress-deadline"
    ISOLATED = "isolated"
    ERROR = "error"


UNCLEAR = "-unclear"
"""Behind the name of a test: the candidate is over its limit as it looks, which may still be chance."""

_NEVER_DECIDE = frozenset({Rule.NOT_JUDGED, Rule.WITHIN_LIMITS})


def decides(name: str) -> bool:
    """Whether a rollout can be rolled back by a rule of this name.

    Args:
        name: from the configuration.
    """
    return name.removesuffix(UNCLEAR) in set(Rule) - _NEVER_DECIDE
