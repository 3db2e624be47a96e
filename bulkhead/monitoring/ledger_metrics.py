"""The ledger as metrics. They are read at each scrape, so every replica says the same, and a restart loses none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from bulkhead.errors import BulkheadError
from bulkhead.ledger.statistics import BOUNDS_S, Durations, LedgerNumbers
from bulkhead.ledger.tables import Phase

_VERDICTS = ("passed", "refused")
_PROMOTED, _ROLLED_BACK = str(Phase.PROMOTED), str(Phase.ROLLED_BACK)


class LedgerMetrics(Collector):
    """Reads the ledger when Prometheus asks. One that does not answer is a metric too: ``bulkhead_ledger_up``.

    Args:
        read: gives the numbers (``Statistics.read``).
        clock: gives the time in UTC.
    """

    def __init__(
        self, read: Callable[[], LedgerNumbers], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._read, self._clock = read, clock

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: registering must not ask the ledger."""
        yield from ()

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """All that is known now."""
        try:
            numbers = self._read()
        except BulkheadError:
            yield _gauge("bulkhead_ledger_up", "Whether the ledger answers.", (), [((), 0)])
            return
        yield _gauge("bulkhead_ledger_up", "Whether the ledger answers.", (), [((), 1)])
        yield from self._of(numbers)

    def _of(self, numbers: LedgerNumbers) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        ended = CounterMetricFamily(
            "bulkhead_rollouts", "Rollouts that ended, by the rule that decided.", labels=("service", "result", "rule")
        )
        # Zeros first: Prometheus sees no increase in a series that begins with 1.
        none = {(service, result, ""): 0 for service in numbers.services for result in (_PROMOTED, _ROLLED_BACK)}
        for labels, count in {**none, **numbers.ended}.items():
            ended.add_metric(labels, count)
        yield ended
        yield _gauge(
            "bulkhead_rollouts_in_progress", "Rollouts that go on.", ("service", "phase"), numbers.in_progress.items()
        )
        yield _histogram(
            "bulkhead_detection_seconds", "From a bad revision's first traffic to the decision.", numbers.detection
        )
        yield _histogram("bulkhead_rollback_seconds", "From the decision until the split was back.", numbers.rollback)
        ages = [((work,), self._age_s(since)) for work, since in numbers.oldest.items()]
        yield _gauge(
            "bulkhead_oldest_unfinished_seconds", "Age of the oldest work that is not done; 0: none.", ("work",), ages
        )
        leases = [(lease, 1.0) for lease in numbers.leases.items()]
        services = [((service,), 1.0) for service in numbers.services]
        yield _gauge("bulkhead_service", "Services that the ledger knows.", ("service",), services)
        yield _gauge("bulkhead_lease", "Which reconciler acts on a service.", ("service", "holder"), leases)
        levels = [((level,), count) for level, count in numbers.isolations.items()]
        yield _gauge("bulkhead_isolations", "Isolations in force.", ("level",), levels)
        yield _gauge("bulkhead_launches", "Pods that tasks wait for.", (), [((), numbers.launches)])
        yield _gauge("bulkhead_quarantines", "Quarantines in force.", ("kind", "phase"), numbers.quarantines.items())
        quarantined = [((model,), count) for model, count in numbers.quarantined.items()]
        verdicts = CounterMetricFamily(
            "bulkhead_gate_verdicts", "Models that the evaluate gate has judged.", labels=("model_name", "result")
        )
        models = {name for name, _ in numbers.gate}
        for judged in sorted((name, result) for name in models for result in _VERDICTS):
            verdicts.add_metric(judged, numbers.gate.get(judged, 0))
        yield verdicts
        yield _gauge("bulkhead_quarantined_devices", "Devices kept away from work.", ("model",), quarantined)

    def _age_s(self, since: datetime | None) -> float:
        return 0.0 if since is None else max(0.0, (self._clock() - since).total_seconds())


def _gauge(
    name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values_of_labels, value in values:
        family.add_metric(values_of_labels, value)
    return family


def _histogram(name: str, text: str, by_service: Mapping[str, Durations]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=("service",))
    for service, durations in by_service.items():
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        buckets = list(zip(bounds, [*durations.counts, durations.count], strict=True))
        family.add_metric((service,), buckets, durations.sum_s)
    return family
