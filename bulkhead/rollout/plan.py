"""The plan of a rollout: how the traffic rises, and what counts as evidence."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bulkhead.errors import InvalidInputError


class Plan(BaseModel):
    """How one revision is rolled out.

    Attributes:
        weights: percent of the traffic at each step; must rise, and end at 100.
        judged: whether steps are judged at all; False only for going back to a revision that served before.
        step_s: shortest time at a step, in seconds.
        min_requests: fewest requests that the candidate must have answered in a step before it can pass.
        max_error_rate: share of the candidate's answers that may be without 2xx, 0 to 1.
        latency_ms: a request that took longer is slow. Judged at the first histogram bound not below it.
        max_slow_rate: share of the candidate's requests that may be slow, 0 to 1.
        alpha: chance that a sound candidate is failed, in the whole rollout and however often it is looked at. Sound
            is one that keeps both limits, and whose requests fail, or are slow, at most ``max_ratio`` times as often
            as stable's over the same time.
        max_ratio: how many times as often as stable's the candidate's requests may fail, or be slow; at least 1.
        quick_ms: a request that took less is quick enough, however quick stable's were.
        min_effect: differences to stable that are smaller than this share of the requests do not matter, 0 to 1.
        ready_s: how long the candidate may take to become ready, in seconds.
        hold_s: how long a step may stay without enough evidence, in seconds; then the release is rolled back.
        drain_s: how long to wait for the last requests of a revision that has lost its traffic, in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: tuple[int, ...] = (10, 50, 100)
    judged: bool = True
    step_s: float = Field(5.0, ge=0, le=86400)
    min_requests: int = Field(20, ge=1)
    max_error_rate: float = Field(0.01, gt=0, lt=1)
    latency_ms: float = Field(250.0, gt=0)
    max_slow_rate: float = Field(0.05, gt=0, lt=1)
    alpha: float = Field(0.01, gt=0, le=0.05)
    max_ratio: float = Field(1.0, ge=1, le=100)
    quick_ms: float = Field(100.0, ge=0)
    min_effect: float = Field(0.01, ge=0, lt=1)
    ready_s: float = Field(120.0, gt=0)
    hold_s: float = Field(900.0, gt=0)
    drain_s: float = Field(10.0, ge=0)

    @field_validator("weights")
    @classmethod
    def _rise_to_all(cls, weights: tuple[int, ...]) -> tuple[int, ...]:
        if not weights or weights[0] < 1 or any(low >= high for low, high in pairwise(weights)):
            raise ValueError("give percentages that rise from step to step, the first at least 1")
        if weights[-1] != 100:
            raise ValueError("the last step must be 100")
        return weights


RETURN = Plan(weights=(100,), judged=False)
"""Everything at once: for going back to a revision that served before. Waiting for evidence would help nobody."""


def parse_plan(data: Mapping[str, Any]) -> Plan:
    """Read a plan.

    Args:
        data: its JSON form; what is missing takes its default.

    Returns:
        The plan.

    Raises:
        InvalidInputError: names the first offending field.
    """
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in ("plan", *first["loc"]))
        raise InvalidInputError(field, first["input"], first["msg"].removeprefix("Value error, ")) from error
