"""What the fleet's watch sees, and what the budget leaves at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from bulkhead.health.quarantine import QuarantineChanges, summary
from bulkhead.health.verdict import Assessment


class FleetMetrics:
    """Gauges of a fleet, as of its last poll.

    Args:
        registry: of the metrics.
        budget: how many devices of a model may be in quarantine at once, by how many there are.
    """

    def __init__(self, registry: CollectorRegistry, budget: Callable[[int], int]) -> None:
        self._budget_of = budget
        self._devices = Gauge("bulkhead_devices", "Devices by verdict.", ("health",), registry=registry)
        self._budget = Gauge(
            "bulkhead_quarantine_budget_devices", "Devices that may be away at once.", ("model",), registry=registry
        )
        self._refused = Gauge(
            "bulkhead_quarantines_refused",
            "Unhealthy devices and nodes that the budget leaves at work: a person is needed.",
            registry=registry,
        )
        self._silent = Gauge("bulkhead_fleet_sources_silent", "Sources that did not answer.", registry=registry)

    def show(self, assessment: Assessment, done: QuarantineChanges) -> None:
        """Take over what a poll has found.

        Args:
            done: what became of the unhealthy ones.
        """
        for health, count in summary(assessment).items():
            self._devices.labels(health).set(count)
        self._budget.clear()
        for model, count in Counter(verdict.device.model for verdict in assessment.devices.values()).items():
            self._budget.labels(model).set(self._budget_of(count))
        self._refused.set(len(done.refused))
        self._silent.set(len(assessment.failed))
