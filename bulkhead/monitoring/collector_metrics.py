"""What the collector finds."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from bulkhead.collector import Collected


class CollectorMetrics:
    """Pods that no task waits for.

    Args:
        registry: of the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter("bulkhead_pods_collected", "Pods that no task waited for, seen to.", registry=registry)
        self._left = Gauge("bulkhead_pods_to_collect", "Pods that no task waits for, still there.", registry=registry)
        self._strangers = Gauge(
            "bulkhead_pods_of_others", "Pods with our label that this ledger did not launch.", registry=registry
        )

    def show(self, collected: Sequence[Collected], strangers: Sequence[str]) -> None:
        """Take over what a pass has found.

        Args:
            strangers: pods that are left alone.
        """
        done = sum(pod.done for pod in collected)
        self._ended.inc(done)
        self._left.set(len(collected) - done)
        self._strangers.set(len(strangers))
