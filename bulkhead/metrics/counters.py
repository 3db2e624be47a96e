"""Cumulative counters of one revision: what every source of metrics gives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

_MOST_PODS = 10_000


@dataclass(frozen=True)
class Answers:
    """What a model answered.

    Attributes:
        seen: answers that were looked into.
        invalid: of those, without a usable prediction: not JSON, empty, NaN or infinite.
        categories: predictions by category; a class label, or the bin of a number.
        compared: requests that candidate and stable have both answered.
        agreed: of those, where both predict the same.
    """

    seen: int = 0
    invalid: int = 0
    categories: Mapping[str, int] = field(default_factory=dict)
    compared: int = 0
    agreed: int = 0


@dataclass(frozen=True)
class Counters:
    """Cumulative numbers of one revision since whoever counts them started.

    Attributes:
        requests: answered, timed out or reset.
        failures: of those, without a 2xx answer.
        slow: cumulative histogram: number of requests that took at most so many milliseconds, by bound.
        active: in flight now.
        answers: what the model answered; None where it should be known and could not be read.
        by_pod: what pods say that they answered, by the life of each: they come and go, and each begins at zero.
        parts: requests, failures and latencies of each pod, where the source tells pods apart; their sums are above.
    """

    requests: int = 0
    failures: int = 0
    slow: Mapping[float, int] = field(default_factory=dict)
    active: int = 0
    answers: Answers | None = field(default_factory=Answers)
    by_pod: Mapping[str, Answers] = field(default_factory=dict)
    parts: Mapping[str, Counters] = field(default_factory=dict)


class AnswersDocument(BaseModel):
    """JSON form of ``Answers``."""

    model_config = ConfigDict(extra="ignore")

    seen: NonNegativeInt = 0
    invalid: NonNegativeInt = 0
    categories: dict[str, NonNegativeInt] = Field(default_factory=dict, max_length=1000)
    compared: NonNegativeInt = 0
    agreed: NonNegativeInt = 0


class PartDocument(BaseModel):
    """JSON form of one of ``Counters.parts``."""

    model_config = ConfigDict(extra="ignore")

    requests: NonNegativeInt = 0
    failures: NonNegativeInt = 0
    slow: list[tuple[float, NonNegativeInt]] = Field(default_factory=list, max_length=1000)


class CountersDocument(BaseModel):
    """JSON form of ``Counters``; the bound of the last bucket is written ``"inf"``."""

    model_config = ConfigDict(extra="ignore")

    requests: NonNegativeInt = 0
    failures: NonNegativeInt = 0
    slow: list[tuple[float, NonNegativeInt]] = Field(default_factory=list, max_length=1000)
    active: NonNegativeInt = 0
    answers: AnswersDocument | None = Field(default_factory=AnswersDocument)
    by_pod: dict[str, AnswersDocument] = Field(default_factory=dict, max_length=_MOST_PODS)
    parts: dict[str, PartDocument] = Field(default_factory=dict, max_length=_MOST_PODS)


def dump(counters: Counters) -> dict[str, Any]:
    """As JSON.

    Args:
        counters: of one revision.
    """
    document: dict[str, Any] = _counts(counters)
    if counters.answers is None:
        document["answers"] = None
    elif counters.answers != Answers():
        document["answers"] = _dumped(counters.answers)
    if counters.by_pod:
        document["by_pod"] = {pod: _dumped(answers) for pod, answers in counters.by_pod.items()}
    if counters.parts:
        document["parts"] = {pod: _counts(part) for pod, part in counters.parts.items()}
    return document


def load(data: Any) -> Counters:
    """Read the JSON form.

    Args:
        data: from ``dump``, or from a server that counts by itself.

    Returns:
        The counters.

    Raises:
        pydantic.ValidationError: it has another form.
    """
    seen = CountersDocument.model_validate(data)
    slow = dict(sorted(seen.slow))
    answers = None if seen.answers is None else _loaded(seen.answers)
    by_pod = {pod: _loaded(document) for pod, document in seen.by_pod.items()}
    parts = {pod: Counters(one.requests, one.failures, dict(sorted(one.slow))) for pod, one in seen.parts.items()}
    return Counters(seen.requests, seen.failures, slow, seen.active, answers, by_pod, parts)


def total(parts: Iterable[Counters]) -> Counters:
    """Counters added up.

    Args:
        parts: of one revision.
    """
    found = Counters()
    for part in parts:
        found = plus(found, part)
    return found


def plus(one: Counters, other: Counters) -> Counters:
    """Requests, failures and latencies of two, added up.

    Args:
        one: counters.
        other: counters.
    """
    return _combined(one, other, 1)


def minus(one: Counters, other: Counters) -> Counters:
    """Requests, failures and latencies of one without another's; negative where a counter fell.

    Args:
        one: counters, later.
        other: counters, earlier.
    """
    return _combined(one, other, -1)


def fell(difference: Counters) -> bool:
    """Whether some counter fell.

    Args:
        difference: see ``minus``.
    """
    return min(difference.requests, difference.failures, *difference.slow.values(), 0) < 0


def _combined(one: Counters, other: Counters, sign: int) -> Counters:
    edges = sorted({*one.slow, *other.slow})
    slow: Mapping[float, int] = {edge: one.slow.get(edge, 0) + sign * other.slow.get(edge, 0) for edge in edges}
    return Counters(one.requests + sign * other.requests, one.failures + sign * other.failures, slow)


def _counts(counters: Counters) -> dict[str, Any]:
    slow = [["inf" if math.isinf(bound) else bound, count] for bound, count in counters.slow.items()]
    return {"requests": counters.requests, "failures": counters.failures, "slow": slow}


def _dumped(answers: Answers) -> dict[str, Any]:
    return AnswersDocument.model_validate(vars(answers)).model_dump()


def _loaded(document: AnswersDocument) -> Answers:
    return Answers(**document.model_dump())
