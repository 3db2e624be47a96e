"""Cumulative counters of one revision: what every source of metrics gives."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

_MOST_PODS = 10_000

NO_ANSWER = "none"
"""The status of a request that had none: it timed out, was reset, or no server listened."""

STATUS = re.compile(r"[1-5](xx|[0-9][0-9])|none")
"""A status as ``Counters.statuses`` has it: HTTP's, a class of them, or ``NO_ANSWER``."""

FAILING = ("5xx", "408", "429", NO_ANSWER)
"""Statuses that are the server's failure. Other 4xx are the client's mistake (RFC 9110, "Client Error 4xx"): no release
is to be judged by them."""


@dataclass(frozen=True)
class Answers:
    """What a model answered.

    Attributes:
        seen: answers that were looked into.
        invalid: of those, without a usable prediction: not JSON, empty, NaN or infinite.
        categories: predictions by category; a class label, or the bin of a number.
        compared: requests that candidate and stable have both answered.
        agreed: of those, where both predict the same.
        errors: what was said in place of an answer, as ``STATUS text``, and how often.
    """

    seen: int = 0
    invalid: int = 0
    categories: Mapping[str, int] = field(default_factory=dict)
    compared: int = 0
    agreed: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Counters:
    """Cumulative numbers of one revision since their source started.

    Attributes:
        requests: answered, timed out or reset.
        failures: of those, the server's failures; see ``with_failures``.
        slow: cumulative histogram: number of requests that took at most so many milliseconds, by bound.
        active: in flight now.
        answers: what the model answered; None where it should be known and could not be read.
        by_pod: what pods say that they answered, by the life of each: they come and go, and each begins at zero.
        parts: requests, failures and latencies of each pod, where the source tells pods apart; their sums are above.
        statuses: requests by HTTP status (``503``), by its class (``5xx``) where no more is known, or ``NO_ANSWER``;
            empty where the source tells of failures alone.
        client_errors: of the requests, the clients' mistakes.
    """

    requests: int = 0
    failures: int = 0
    slow: Mapping[float, int] = field(default_factory=dict)
    active: int = 0
    answers: Answers | None = field(default_factory=Answers)
    by_pod: Mapping[str, Answers] = field(default_factory=dict)
    parts: Mapping[str, Counters] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    client_errors: int = 0

    @property
    def valid(self) -> int:
        """Requests that say something of the release: a client's mistakes neither fail it nor hide its failures."""
        return self.requests - self.client_errors


class AnswersDocument(BaseModel):
    """JSON form of ``Answers``."""

    model_config = ConfigDict(extra="ignore")

    seen: NonNegativeInt = 0
    invalid: NonNegativeInt = 0
    categories: dict[str, NonNegativeInt] = Field(default_factory=dict, max_length=1000)
    compared: NonNegativeInt = 0
    agreed: NonNegativeInt = 0
    errors: dict[str, NonNegativeInt] = Field(default_factory=dict, max_length=1000)


class PartDocument(BaseModel):
    """JSON form of one of ``Counters.parts``."""

    model_config = ConfigDict(extra="ignore")

    requests: NonNegativeInt = 0
    failures: NonNegativeInt = 0
    slow: list[tuple[float, NonNegativeInt]] = Field(default_factory=list, max_length=1000)
    statuses: dict[str, NonNegativeInt] = Field(default_factory=dict, max_length=1000)


class CountersDocument(PartDocument):
    """JSON form of ``Counters``; the bound of the last bucket is written ``"inf"``.

    A server that counts by itself gives its ``life``, another one after each start: so a restart is seen.
    """

    active: NonNegativeInt = 0
    life: str = Field("", max_length=64)
    answers: AnswersDocument | None = Field(default_factory=AnswersDocument)
    by_pod: dict[str, AnswersDocument] = Field(default_factory=dict, max_length=_MOST_PODS)
    parts: dict[str, PartDocument] = Field(default_factory=dict, max_length=_MOST_PODS)


def dump(counters: Counters) -> dict[str, Any]:
    """As JSON."""
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
    return with_failures(
        replace(
            _counted(seen),
            active=seen.active,
            answers=None if seen.answers is None else _loaded(seen.answers),
            by_pod={pod: _loaded(document) for pod, document in seen.by_pod.items()},
            parts={pod: _counted(part) for pod, part in (seen.parts or _alone(seen)).items()},
        )
    )


def fails(status: str, failing: Collection[str] = FAILING) -> bool:
    """Whether a status is the server's failure.

    Args:
        status: see ``Counters.statuses``.
        failing: statuses, and classes of them, that are.
    """
    return status in failing or (len(status) == 3 and status.isdigit() and f"{status[0]}xx" in failing)


def with_failures(counters: Counters, failing: Collection[str] = FAILING) -> Counters:
    """The same counters, with failures and client errors told by their statuses, where they have any.

    Args:
        failing: statuses, and classes of them, that count as the server's failure.
    """
    parts = {name: with_failures(part, failing) for name, part in counters.parts.items()}
    if not counters.statuses:
        return replace(counters, parts=parts)
    failed = {status: count for status, count in counters.statuses.items() if fails(status, failing)}
    clients = sum(count for status, count in counters.statuses.items() if status[:1] == "4" and status not in failed)
    return replace(counters, failures=sum(failed.values()), client_errors=clients, parts=parts)


def total(parts: Iterable[Counters]) -> Counters:
    """Counters added up."""
    sum_ = Counters()
    for part in parts:
        sum_ = plus(sum_, part)
    return sum_


def plus(counters: Counters, other: Counters) -> Counters:
    """Requests, failures and latencies of two, added up."""
    return _combined(counters, other, 1)


def minus(counters: Counters, other: Counters) -> Counters:
    """Requests, failures and latencies of one without another's; negative where a counter fell."""
    return _combined(counters, other, -1)


def fell(difference: Counters) -> bool:
    """Whether some counter fell.

    Args:
        difference: see ``minus``.
    """
    counts = (difference.requests, difference.failures, difference.client_errors)
    return min(*counts, *difference.slow.values(), *difference.statuses.values()) < 0


def _combined(counters: Counters, other: Counters, sign: int) -> Counters:
    edges, names = sorted({*counters.slow, *other.slow}), sorted({*counters.statuses, *other.statuses})
    return Counters(
        requests=counters.requests + sign * other.requests,
        failures=counters.failures + sign * other.failures,
        slow={edge: counters.slow.get(edge, 0) + sign * other.slow.get(edge, 0) for edge in edges},
        statuses={name: counters.statuses.get(name, 0) + sign * other.statuses.get(name, 0) for name in names},
        client_errors=counters.client_errors + sign * other.client_errors,
    )


def _counts(counters: Counters) -> dict[str, Any]:
    slow = [["inf" if math.isinf(bound) else bound, count] for bound, count in counters.slow.items()]
    document: dict[str, Any] = {"requests": counters.requests, "failures": counters.failures, "slow": slow}
    return {**document, "statuses": dict(counters.statuses)} if counters.statuses else document


def _alone(seen: CountersDocument) -> dict[str, PartDocument]:
    return {seen.life: seen} if seen.life else {}


def _counted(document: PartDocument) -> Counters:
    slow = dict(sorted(document.slow))
    return Counters(document.requests, document.failures, slow, statuses=document.statuses)


def _dumped(answers: Answers) -> dict[str, Any]:
    return AnswersDocument.model_validate(vars(answers)).model_dump()


def _loaded(document: AnswersDocument) -> Answers:
    return Answers(**document.model_dump())
