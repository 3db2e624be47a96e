"""A revision's numbers from a Prometheus server.

Source: Prometheus' HTTP API, "Instant queries". All of a look's queries are evaluated at one time, so that no request
is counted by one and not yet by another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlencode

from bulkhead.errors import UnavailableError
from bulkhead.metrics.counters import Counters
from bulkhead.metrics.http_json import get_json, token_of
from bulkhead.metrics.queries import Naming, chosen, filled
from bulkhead.settings import PrometheusSource

_TIMEOUT_S = 3.0


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

        Args:
            service: by name.
            revisions: that are wanted.

        Raises:
            UnavailableError: the server does not answer, or with something that is no number of requests.
            InvalidInputError: the token's variable is not set.
        """
        at = self._clock()
        return {revision: self._counters(service, revision, at) for revision in revisions}

    def _counters(self, service: str, revision: str, at: float) -> Counters:
        names = self._naming(service, revision)

        def ask(query: str | None) -> list[tuple[dict[str, str], float]]:
            return self._ask(filled(query, names), at) if query else []

        buckets = {}
        for labels, value in ask(self._queries.buckets):
            bound = float(labels.get("le", "nan"))
            if math.isnan(bound):
                raise UnavailableError(f"prometheus.queries.buckets gives a series without le: {labels}")
            buckets[bound * self._queries.bucket_unit_ms] = round(value)
        return Counters(
            requests=_total(ask(self._queries.requests)),
            failures=_total(ask(self._queries.failures)),
            slow=dict(sorted(buckets.items())),
            active=_total(ask(self._queries.active)),
        )

    def _ask(self, query: str, at: float) -> list[tuple[dict[str, str], float]]:
        url = f"{self._source.url.rstrip('/')}/api/v1/query?{urlencode({'query': query, 'time': f'{at:.3f}'})}"
        answer = get_json(url, _TIMEOUT_S, token_of(self._source.token_variable))
        try:
            if answer["data"]["resultType"] != "vector":
                raise UnavailableError(f"Prometheus answers {query!r} with no vector; sum over the range in the query")
            found = [(dict(one["metric"]), float(one["value"][1])) for one in answer["data"]["result"]]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UnavailableError(f"{self._source.url} answers in another form than Prometheus: {error}") from error
        if not all(math.isfinite(value) and value >= 0 for _, value in found):
            raise UnavailableError(f"Prometheus answers {query!r} with what is no number of requests: {found}")
        return found


def _total(found: list[tuple[dict[str, str], float]]) -> int:
    return round(sum(value for _, value in found))
