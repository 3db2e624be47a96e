"""A part that does the same work again and again: whether it lives, whether its last pass went well, and how long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bulkhead.errors import UnavailableError

log = logging.getLogger(__name__)

_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Loop:
    """Measures the passes of one part.

    Args:
        component: ``reconciler``, ``fleet-watch``, ``collector``; a label of every metric.
        hung_after_s: a pass, or the wait for the next, that lasts longer is hung; in seconds.
        clock: gives seconds; never jumps.

    Attributes:
        registry: of its metrics.
    """

    def __init__(self, component: str, hung_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        labels, registry = ("component",), self.registry
        passes = Histogram(
            "bulkhead_pass_seconds", "How long a pass took.", labels, buckets=_BOUNDS_S, registry=registry
        )
        failures = Counter("bulkhead_pass_failures", "Passes that an error has ended.", labels, registry=registry)
        last = Gauge(
            "bulkhead_pass_last_success_timestamp_seconds", "When a pass last ended well.", labels, registry=registry
        )
        self._passes, self._failures, self._last = (
            passes.labels(component),
            failures.labels(component),
            last.labels(component),
        )
        self._hung_after_s, self._clock = hung_after_s, clock
        self._sign_of_life = clock()
        self._error: str | None = "no pass has ended yet"

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """Around one pass. Its error is counted, and goes on its way."""
        began = self._sign_of_life = self._clock()
        try:
            yield
        except Exception as error:
            self._failures.inc()
            self._error = f"the last pass failed: {error}"
            raise
        else:
            self._error = None
            self._last.set_to_current_time()
        finally:
            self._sign_of_life = self._clock()
            self._passes.observe(self._sign_of_life - began)

    def repeat(
        self, work: Callable[[], None], every_s: float, stop: threading.Event, wake: threading.Event | None = None
    ) -> None:
        """Do something again and again. Whatever it raises costs that pass, and not the part.

        Args:
            work: one pass.
            every_s: how long to wait between two, in seconds.
            stop: ends it when set.
            wake: when set, the next pass begins at once; cleared before it does.
        """
        while not stop.is_set():
            if wake is not None:
                wake.clear()
            try:
                with self.one_pass():
                    work()
            except UnavailableError as error:
                log.warning("not now: %s", error)
            except Exception:
                log.exception("a pass failed; the next one starts again")
            (wake or stop).wait(every_s)

    def hung(self) -> str | None:
        """Why it has to be started anew; None where it lives."""
        silent = self._clock() - self._sign_of_life
        return f"no sign of life for {silent:.0f} s" if silent > self._hung_after_s else None

    def not_ready(self) -> str | None:
        """Why it does not do its work; None where it does."""
        return self._error
