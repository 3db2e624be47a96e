"""The plan of a rollout: how the traffic rises, who is asked, and what counts as evidence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bulkhead import arguments
from bulkhead.errors import InvalidInputError, first_invalid
from bulkhead.metrics.counters import FAILING, NO_ANSWER, STATUS

# RFC 9110, "token", and what an HTTPRoute's match takes. What no router takes would wait until the step is given up.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,4096}")


class Step(BaseModel):
    """One step of a rollout. Where only the weight counts, the bare number may be written instead.

    Attributes:
        weight: percent of the traffic that the candidate gets.
        mirror: percent of the requests that the candidate answers as well, without any client seeing it; its answers
            are compared with stable's to the same requests. Only at weight 0.
        headers: requests that carry all of these go to the candidate, whatever the weight: one tenant, or testers.
        approve: whether a person has to agree before the rollout goes on from here.
        step_s: shortest time at this step, in seconds; the plan's by default. This is how to pause for a time.
        inconclusive_timeout_s: how long this step may stay without enough evidence, in seconds; the plan's by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: int = Field(0, ge=0, le=100)
    mirror: int = Field(0, ge=0, le=100)
    headers: Mapping[str, str] = Field(default_factory=dict)
    approve: bool = False
    step_s: float | None = Field(None, ge=0, le=7 * 86400)
    inconclusive_timeout_s: float | None = Field(None, gt=0)

    @property
    def exposes(self) -> bool:
        """Whether the candidate gets requests at this step, be it copies."""
        return bool(self.weight or self.mirror or self.headers)

    @field_validator("headers")
    @classmethod
    def _matchable(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an HTTP header: use letters, digits and '-', at most 256")
            if not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"the value of header {name!r} has to be 1 to 4096 printable ASCII characters")
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("names of headers are the same in upper and lower case: leave one out")
        return headers

    @model_validator(mode="after")
    def _one_purpose(self) -> Step:
        if self.mirror and (self.weight or self.headers):
            raise ValueError("a step that mirrors has weight 0 and no headers: put the others into a step of their own")
        if not self.exposes and not self.approve:
            raise ValueError("the candidate gets no request here: give a weight, mirror, headers or approve")
        if self.weight == 100 and self.headers:
            raise ValueError("at weight 100 all requests are the candidate's: leave the headers out")
        return self


class TruthLimit(BaseModel):
    """What a metric of ground truth has to keep; see ``bulkhead.rollout.analysis.truth``.

    Attributes:
        at_least: smallest value, or None.
        at_most: largest value, or None.
        max_drop: how much smaller than stable's it may be, or None.
        required: whether a step can pass only once it was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_least: float | None = None
    at_most: float | None = None
    max_drop: float | None = Field(None, ge=0)
    required: bool = False

    @model_validator(mode="after")
    def _some_limit(self) -> TruthLimit:
        if (self.at_least, self.at_most, self.max_drop) == (None, None, None):
            raise ValueError("give at_least, at_most or max_drop")
        return self


class Plan(BaseModel):
    """How one revision is rolled out.

    Blue/green is ``steps: [{headers: {x-preview: "1"}, approve: true}, 100]`` with a ``bake_s``: the candidate is
    tried beside stable, all traffic changes over at once, and stable stays warm for the time of the bake.

    Attributes:
        steps: what the candidate gets, one after the other; weights must not fall, and end at 100.
        judged: whether steps are judged at all; False only for going back to a revision that served before.
        step_s: shortest time at a step, in seconds.
        min_requests: fewest requests that the candidate must have answered in a step before it can pass.
        max_error_rate: share of the candidate's requests that may fail, 0 to 1.
        failing: HTTP statuses that count as failures: ``503``, a class of them (``5xx``), or ``none`` for no answer.
            Other 4xx are the clients' mistakes: told of, and judged only against stable's over the same time. Where a
            source of numbers tells of failures alone, its own idea of them counts.
        latency_ms: a request that took longer is slow. Judged at the first histogram bound not below it.
        max_slow_rate: share of the candidate's requests that may be slow, 0 to 1. With 0.01, ``latency_ms`` is a bound
            on the 99th percentile.
        objective: share of the candidate's requests that has to succeed, for instance 0.999: the rate at which it uses
            its error budget up is judged in several windows; None for no such rule.
        max_active: most requests in flight at the candidate at which a step can pass; None for any.
        max_invalid_rate: share of the candidate's answers that may have no usable prediction (NaN, infinite, empty).
        max_drift: how far its predictions may be from stable's, as total variation distance, 0 to 1.
        max_disagreement: share of mirrored requests to which it may predict something else than stable, 0 to 1.
        truth: limits of ground truth that comes late, by the name of the metric that is logged for the model in MLflow.
        alpha: chance that a healthy candidate is failed, in the whole rollout and however often it is looked at.
            Healthy is one that keeps both limits, and whose requests fail, or are slow, at most ``max_ratio`` times as
            often as stable's over the same time.
        max_ratio: how many times as often as stable's the candidate's requests may fail, or be slow; at least 1.
        latency_floor_ms: a request that took less is quick enough, however quick stable's were.
        min_effect: differences to stable that are smaller than this share of the requests do not matter, 0 to 1.
        ready_s: how long the candidate may take to become ready, in seconds.
        inconclusive_timeout_s: how long a step may stay without enough evidence, in seconds; then
            ``on_insufficient_data`` says what to do.
        on_insufficient_data: ``roll-back``, or ``promote``: go on to the next step although too few requests came.
            Where evidence came and is unclear, the release is rolled back with either.
        metrics_unavailable_s: how long the metrics may be unreadable, in seconds; then ``on_metrics_unavailable`` says
            what to do.
        on_metrics_unavailable: ``hold`` the step until ``inconclusive_timeout_s`` is over, or ``roll-back``.
        approval_s: how long to wait for a person at a step that asks for one, in seconds; then it is rolled back.
        progress_deadline_s: how long the whole way to 100 % may take, in seconds, without the bake; then it is rolled
            back.
        bake_s: how long stable stays warm after the candidate has got all traffic and the alias, in seconds. The
            candidate is judged all the time, and rolled back if it fails.
        drain_s: how long to wait for the last requests of a revision that has lost its traffic, in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: tuple[Step, ...] = (Step(weight=10), Step(weight=50), Step(weight=100))
    judged: bool = True
    step_s: float = Field(5.0, ge=0, le=7 * 86400)
    min_requests: int = Field(20, ge=1)
    max_error_rate: float = Field(0.01, gt=0, lt=1)
    failing: tuple[str, ...] = FAILING
    latency_ms: float = Field(250.0, gt=0)
    max_slow_rate: float = Field(0.05, gt=0, lt=1)
    objective: float | None = Field(None, ge=0.5, lt=1)
    max_active: int | None = Field(None, ge=1)
    max_invalid_rate: float = Field(0.01, gt=0, lt=1)
    max_drift: float = Field(0.1, ge=0, le=1)
    max_disagreement: float = Field(0.1, gt=0, lt=1)
    truth: Mapping[str, TruthLimit] = Field(default_factory=dict)
    alpha: float = Field(0.01, gt=0, le=0.05)
    max_ratio: float = Field(1.0, ge=1, le=100)
    latency_floor_ms: float = Field(100.0, ge=0)
    min_effect: float = Field(0.01, ge=0, lt=1)
    ready_s: float = Field(120.0, gt=0)
    inconclusive_timeout_s: float = Field(900.0, gt=0)
    on_insufficient_data: Literal["roll-back", "promote"] = "roll-back"
    metrics_unavailable_s: float = Field(60.0, gt=0)
    on_metrics_unavailable: Literal["hold", "roll-back"] = "hold"
    approval_s: float = Field(86400.0, gt=0)
    progress_deadline_s: float | None = Field(None, gt=0)
    bake_s: float = Field(0.0, ge=0, le=7 * 86400)
    drain_s: float = Field(10.0, ge=0)

    @field_validator("steps", mode="before")
    @classmethod
    def _bare_weights(cls, steps: Any) -> Any:
        if not isinstance(steps, list | tuple):
            return steps
        return [{"weight": step} if isinstance(step, int | str) else step for step in steps]

    @field_validator("steps")
    @classmethod
    def _rise_to_all(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if not steps or steps[-1].weight != 100:
            raise ValueError("the last step must have weight 100")
        if any(low.weight > high.weight for low, high in pairwise(steps)):
            raise ValueError("give weights that do not fall from step to step")
        if any(low == high or (low.weight == high.weight == 100) for low, high in pairwise(steps)):
            raise ValueError("two steps one after the other are the same: leave one out")
        return steps

    @field_validator("failing")
    @classmethod
    def _statuses(cls, failing: tuple[str, ...]) -> tuple[str, ...]:
        for status in failing:
            if not STATUS.fullmatch(status):
                raise ValueError(f"{status!r} is no status: give one such as '503', a class such as '5xx', or 'none'")
        if "5xx" not in failing or NO_ANSWER not in failing:
            raise ValueError("a server that breaks down answers 5xx or nothing: keep '5xx' and 'none' among them")
        return failing

    @property
    def approvals(self) -> int:
        """How many times a person is asked."""
        return sum(step.approve for step in self.steps)

    def step_s_of(self, step: Step) -> float:
        """Shortest time at a step, in seconds.

        Args:
            step: one of the plan's.
        """
        return self.step_s if step.step_s is None else step.step_s

    def inconclusive_timeout_s_of(self, step: Step) -> float:
        """How long a step may stay without enough evidence, in seconds.

        Args:
            step: one of the plan's.
        """
        return self.inconclusive_timeout_s if step.inconclusive_timeout_s is None else step.inconclusive_timeout_s

    @property
    def length_s(self) -> float:
        """How long the rollout takes at least, from its first step to the end of its bake, in seconds; at least 1."""
        return max(1.0, sum(self.step_s_of(step) for step in self.steps) + self.bake_s)


RETURN = Plan(steps=(Step(weight=100),), judged=False)
"""Everything at once: for going back to a revision that served before. Waiting for evidence would not help."""


def first_release(plan: Plan) -> Plan:
    """The plan where there is no stable revision: nothing to compare with, and nothing else to serve the rest.

    Args:
        plan: as its author wrote it.

    Returns:
        The same limits at one step of 100 %, where a person is asked if the author's plan asks anywhere.
    """
    return plan.model_copy(update={"steps": (Step(weight=100, approve=plan.approvals > 0),)})


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
        raise first_invalid(error, "plan") from error


def readable_plan(data: Mapping[str, Any]) -> Plan | None:
    """A plan of the ledger, to be shown; None where it cannot be read: an older version's, a restored backup's.

    Args:
        data: its JSON form.
    """
    try:
        return parse_plan(data)
    except InvalidInputError:
        return None


def check_plan(data: Mapping[str, Any], is_open: Callable[[Any], bool]) -> None:
    """Refuse a plan that is wrong whatever its open values turn out to be.

    Args:
        is_open: whether a value, or one in it, will be known only later: a template.

    Raises:
        InvalidInputError: names the first offending field.
    """
    arguments.fields("plan", data, Plan, is_open, "give a mapping of the fields of bulkhead.Plan")
    if is_open(data):
        arguments.fields("plan", _known(data, is_open), Plan, is_open, "")


def _known(data: Mapping[str, Any], is_open: Callable[[Any], bool]) -> dict[str, Any]:
    """What is known of a plan, such that the rules between its steps can be checked."""
    given = {name: value for name, value in data.items() if not is_open(value)}
    steps = data.get("steps")
    if "steps" in given or not isinstance(steps, list | tuple):
        return given
    weights = [step.get("weight") if isinstance(step, Mapping) and is_open(step) else step for step in steps]
    rising = [step for step in weights if step is not None and not is_open(step)]
    # An open last step may well have weight 100. One that is known has to.
    ends_open = weights[-1] is None or is_open(weights[-1])
    return {**given, "steps": [*rising, 100] if ends_open and rising[-1:] != [100] else rising}
