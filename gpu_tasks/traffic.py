"""Requests counted: how many, with which status, how long they took. As JSON, and as Prometheus reads it."""

from __future__ import annotations

import secrets
import threading
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Any

BOUNDS_MS = (0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0)
"""Bounds of the latency histogram, in milliseconds: Envoy's own."""

NO_ANSWER = 0
"""Status of a request that had none."""


def named(status: int) -> str:
    """A status as ``bulkhead.metrics.counters.Counters.statuses`` has it.

    Args:
        status: of HTTP, or ``NO_ANSWER``.
    """
    return "none" if status == NO_ANSWER else str(status)


class Traffic:
    """Counts requests. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: Counter[str] = Counter()
        self._buckets = [0] * (len(BOUNDS_MS) + 1)
        self._total_ms = 0.0
        self._life = secrets.token_hex(8)

    def add(self, status: int, took_ms: float) -> None:
        """Count a request.

        Args:
            status: of HTTP, or ``NO_ANSWER``.
            took_ms: milliseconds from its first byte to the answer's last.
        """
        with self._lock:
            self._statuses[named(status)] += 1
            self._buckets[bisect_left(BOUNDS_MS, took_ms)] += 1
            self._total_ms += took_ms

    def document(self) -> dict[str, Any]:
        """The counts, in the form of ``bulkhead.metrics.counters.CountersDocument``."""
        with self._lock:
            requests = sum(self._statuses.values())
            slow = [list(pair) for pair in zip((*BOUNDS_MS, "inf"), accumulate(self._buckets), strict=True)]
            statuses = dict(sorted(self._statuses.items()))
            return {"life": self._life, "requests": requests, "statuses": statuses, "slow": slow}

    def exposition(self) -> str:
        """The counts in Prometheus' text format, version 0.0.4."""
        with self._lock:
            lines = ["# TYPE bulkhead_requests_total counter"]
            for status in sorted({"200", *self._statuses}):
                lines.append(f'bulkhead_requests_total{{code="{status}"}} {self._statuses[status]}')
            lines.append("# TYPE bulkhead_request_duration_seconds histogram")
            bounds = (*(f"{bound / 1000:g}" for bound in BOUNDS_MS), "+Inf")
            for bound, count in zip(bounds, accumulate(self._buckets), strict=True):
                lines.append(f'bulkhead_request_duration_seconds_bucket{{le="{bound}"}} {count}')
            lines.append(f"bulkhead_request_duration_seconds_sum {self._total_ms / 1000:g}")
            lines.append(f"bulkhead_request_duration_seconds_count {sum(self._buckets)}")
        return "\n".join(lines) + "\n"
