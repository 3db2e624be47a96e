"""A revision's numbers from a Prometheus server.

Source: Prometheus' HTTP API, "Instant queries". All of a poll's queries are evaluated at one time, so that no request
is counted by one and not yet by another.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from urllib.parse import urlencode

from bulkhead.errors import UnavailableError
from bulkhead.metrics.counters import NO_ANSWER, STATUS, Counters, total, with_failures
from bulkhead.metrics.http_json import get_body, parse_json, token_of
from bulkhead.metrics.queries import Naming, chosen, filled
from bulkhead.settings import PrometheusSource
from bulkhead.text import bounded

_LONGEST_TEXT = 500
_ENDED_BEFORE = "0"
"""Istio's status of a connection that ended before the answer."""

Vector = list[tuple[dict[str, str], float]]
"""Labels and value of each series that a query gave."""


class PrometheusMetrics:
    """Counts what revisions do, as a Prometheus server has it.

    Args:
        source: the server, and what it is asked.
        naming: what to fill into its queries.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        source: PrometheusSource,
        naming: Naming,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source, self._queries = source, chosen(source.queries)
        self._naming, self._clock = naming, clock

    def counters(self, service: str, revisions: Collection[str]) -> Mapping[str, Counters]:
        """See ``Metrics.counters``. A revision without a series yet has zeros.

        Raises:
            UnavailableError: the server does not answer, or with something that is no number of requests.
            InvalidInputError: the token's variable is not set.
        """
        at = self._clock()
        return {revision: self._counters(service, revision, at) for revision in revisions}

    def _counters(self, service: str, revision: str, at: float) -> Counters:
        names = self._naming(service, revision)

        def vector_of(query: str | None) -> Vector:
            return self._ask(filled(query, names), at) if query else []

        answered, label = vector_of(self._queries.requests), self._queries.status_label
        statuses = _by_status(answered, label) if label is not None else {}
        requests = _by_series([(_without(labels, label), value) for labels, value in answered])
        failures = _by_series(vector_of(self._queries.failures))
        buckets: dict[str, dict[float, int]] = {}
        for labels, value in vector_of(self._queries.buckets):
            bound = _bound(labels) * self._queries.bucket_unit_ms
            whose = buckets.setdefault(_series(_without(labels, "le")), {})
            whose[bound] = whose.get(bound, 0) + round(value)
        parts = {
            name: with_failures(
                Counters(
                    requests.get(name, 0),
                    failures.get(name, 0),
                    dict(sorted(buckets.get(name, {}).items())),
                    statuses=statuses.get(name, {}),
                )
            )
            for name in sorted({*requests, *failures, *buckets})
        }
        return replace(
            total(parts.values()),
            active=sum(_by_series(vector_of(self._queries.active)).values()),
            # One series without labels is a sum already: whose counter fell cannot be told any more.
            parts=parts if set(parts) != {""} else {},
        )

    def _ask(self, query: str, at: float) -> Vector:
        token = token_of(self._source.token_variable)
        samples = ask(self._source.url, query, at, token=token)
        if not all(math.isfinite(value) and value >= 0 for _, value in samples):
            raise UnavailableError(f"Prometheus answers {query!r} with what is no number of requests: {samples}")
        return samples


def ask(
    url: str,
    query: str,
    at: float,
    *,
    token: str | None = None,
    timeout_s: float = 3.0,
    most_bytes: int = 4 * 1024 * 1024,
) -> Vector:
    """An instant query.

    Args:
        url: of the server's HTTP API.
        query: PromQL that gives a vector.
        at: the time that it is evaluated at, in seconds since 1970.
        token: sent as a bearer token.
        timeout_s: for connecting, and for each read, in seconds.
        most_bytes: a longer answer is refused.

    Returns:
        Labels and value of each series.

    Raises:
        UnavailableError: the server does not answer, or with no vector.
    """
    where = f"{url.rstrip('/')}/api/v1/query?{urlencode({'query': query, 'time': f'{at:.3f}'})}"
    answer = parse_json(where, get_body(where, timeout_s, token, most_bytes, error_of=_error_of))
    try:
        # Thanos and Mimir tell so where a store did not answer, VictoriaMetrics where a node did not: what is there is
        # less than what there is. ("infos" are remarks about the query.)
        if answer.get("warnings") or answer.get("isPartial"):
            warnings = "; ".join(map(str, answer.get("warnings") or ["isPartial"]))
            raise UnavailableError(f"{url} answers {query!r} in part: {bounded(warnings, _LONGEST_TEXT)}")
        if answer["data"]["resultType"] != "vector":
            raise UnavailableError(f"Prometheus answers {query!r} with no vector; sum over the range in the query")
        if any("histogram" in series for series in answer["data"]["result"]):
            remedy = "take histogram_count or histogram_fraction of it, or the classic buckets"
            raise UnavailableError(f"Prometheus answers {query!r} with native histograms: {remedy}")
        return [(dict(series["metric"]), float(series["value"][1])) for series in answer["data"]["result"]]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UnavailableError(f"{url} answers in another form than Prometheus: {error}") from error


def _by_series(vector: Vector) -> dict[str, int]:
    counts: dict[str, int] = {}
    for labels, value in vector:
        name = _series(labels)
        counts[name] = counts.get(name, 0) + round(value)
    return counts


def _by_status(vector: Vector, label: str) -> dict[str, dict[str, int]]:
    """Requests by status, for each series without it."""
    counts: dict[str, dict[str, int]] = {}
    for labels, value in vector:
        status = labels.get(label, "")
        status = NO_ANSWER if status == _ENDED_BEFORE else status
        if not STATUS.fullmatch(status):
            raise UnavailableError(f"prometheus.queries.requests gives no HTTP status in the label {label!r}: {labels}")
        whose = counts.setdefault(_series(_without(labels, label)), {})
        whose[status] = whose.get(status, 0) + round(value)
    return counts


def _without(labels: Mapping[str, str], name: str | None) -> dict[str, str]:
    return {label: value for label, value in labels.items() if label != name}


def _series(labels: Mapping[str, str]) -> str:
    """A name of a series, equal for equal labels; empty for one without any."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__")


def _bound(labels: Mapping[str, str]) -> float:
    try:
        bound = float(labels["le"])
    except (KeyError, ValueError):
        bound = math.nan
    if math.isnan(bound):
        raise UnavailableError(f"prometheus.queries.buckets gives a series without a bound le: {labels}")
    return bound


def _error_of(body: bytes) -> str | None:
    """What a server says of a query that it does not answer (Prometheus' HTTP API, "Format overview")."""
    try:
        document = json.loads(body)
        return f"{document['errorType']}: {document['error']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
