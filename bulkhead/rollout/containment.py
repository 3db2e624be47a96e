"""An error in one service's pass is that service's alone: recorded, backed off, shown, and the others go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from bulkhead.errors import BulkheadError, FencedError
from bulkhead.events import EventKind
from bulkhead.ledger.ledger import Ledger
from bulkhead.rollout.backoff import Backoff
from bulkhead.text import bounded

log = logging.getLogger(__name__)

_RECORD_AGAIN = timedelta(minutes=1)
"""Between two events of one failure whose text changes: an address or a time in it must not fill the ledger."""


class _Recorded(NamedTuple):
    """The failure that the ledger has now, None where it has none, and when this process recorded the last one."""

    text: str | None
    at: datetime | None


class Containment:
    """Keeps the errors of services to the service and the work that they belong to.

    Args:
        ledger: where failures are recorded.
        clock: gives the time in UTC.
        longest: wait between two tries.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], datetime], longest: timedelta) -> None:
        self._ledger, self._clock = ledger, clock
        self._backoff = Backoff(clock, longest)
        self._recorded: dict[tuple[str, str], _Recorded] = {}

    def ready(self, service: str, work: str) -> bool:
        """Whether to try now.

        Args:
            work: see ``of``.
        """
        return self._backoff.ready((service, work))

    @contextmanager
    def of(self, service: str, work: str) -> Iterator[None]:
        """Run a block; an error that leaves it ends here, whatever kind it is.

        Args:
            service: that the block is about, by name.
            work: what it does, in words, for the reader of the event.

        Raises:
            UnavailableError: the ledger does not answer, so that no service can be helped.
        """
        try:
            yield
        except FencedError as error:  # another writer has moved on meanwhile: the next pass reads again
            log.info("service %s: %s", service, error)
        except Exception as error:  # noqa: BLE001 - this is what the class is for
            self._ledger.ping()  # no pass succeeds without it, and each would wait for it in vain
            self._backoff.failed((service, work))
            self._failing(service, work, error)
        else:
            self._backoff.succeeded((service, work))
            self._succeeding(service, work)

    def _failing(self, service: str, work: str, error: Exception) -> None:
        expected = isinstance(error, BulkheadError)
        text = bounded(str(error) if expected else f"{type(error).__name__}: {error}")
        now = self._clock()
        before = self._recorded.get((service, work), _Recorded(None, None))
        if before.text == text or (before.at is not None and abs(now - before.at) < _RECORD_AGAIN):
            return
        log.warning("service %s: %s failed: %s", service, work, text, exc_info=None if expected else error)
        self._recorded[service, work] = _Recorded(text, now)
        self._record(service, EventKind.FAILING, {"for": work, "why": text})

    def _succeeding(self, service: str, work: str) -> None:
        """Say that a failure is over, be it one that an earlier process has recorded."""
        if (service, work) not in self._recorded:
            self._recorded[service, work] = _Recorded(self._ledger.events.failing(service).get(work), None)
        recorded = self._recorded[service, work]
        if recorded.text is not None:
            self._recorded[service, work] = _Recorded(None, recorded.at)
            self._record(service, EventKind.RECOVERED, {"for": work})

    def _record(self, service: str, kind: EventKind, data: dict[str, str]) -> None:
        try:
            self._ledger.events.record(service, kind, data)
        except Exception:
            log.exception("service %s: %s could not be recorded", service, kind)
