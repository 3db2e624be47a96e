"""Ground truth that comes late: what labels, feedback or an audit say of a model's answers, hours after them.

The pipeline that learns it logs it as a metric of the model in MLflow (``mlflow.log_metric(name, value,
model_id=...)``). It has its own uncertainty, which only its author knows, so it is held against plain limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from bulkhead.rollout.plan import TruthLimit


@dataclass(frozen=True)
class Truth:
    """What was measured since the candidate's first request.

    Attributes:
        candidate: latest value by metric.
        stable: the same of the stable revision.
    """

    candidate: Mapping[str, float] = field(default_factory=dict)
    stable: Mapping[str, float] = field(default_factory=dict)


def broken(limits: Mapping[str, TruthLimit], truth: Truth) -> str | None:
    """Which limit the candidate does not keep, in words; None if it keeps all of which something is known."""
    for name, limit in limits.items():
        value, theirs = truth.candidate.get(name), truth.stable.get(name)
        if not _is_known(value):
            continue
        if limit.at_least is not None and value < limit.at_least:
            return f"{name} is {value:g}, at least {limit.at_least:g} was asked for"
        if limit.at_most is not None and value > limit.at_most:
            return f"{name} is {value:g}, at most {limit.at_most:g} was asked for"
        if limit.max_drop is not None and _is_known(theirs) and value < theirs - limit.max_drop:
            return f"{name} is {value:g}, more than {limit.max_drop:g} below stable's {theirs:g}"
    return None


def lacking(limits: Mapping[str, TruthLimit], truth: Truth) -> list[str]:
    """Metrics that are required and were not measured yet."""
    return sorted(name for name, limit in limits.items() if limit.required and not _is_known(truth.candidate.get(name)))


def _is_known(value: float | None) -> TypeGuard[float]:
    """Whether something was measured: a NaN keeps every limit, and says nothing."""
    return value is not None and not math.isnan(value)
