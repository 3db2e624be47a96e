"""One long-running part, with its port."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bulkhead.errors import BulkheadError, InvalidInputError
from bulkhead.http_handler import SHORTEST_TOKEN
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.statistics import Statistics
from bulkhead.monitoring.ledger_metrics import LedgerMetrics
from bulkhead.monitoring.loop import Loop
from bulkhead.monitoring.server import Probe, listening
from bulkhead.settings import MonitoringSettings

log = logging.getLogger(__name__)

_NEVER_S = 1e9


@contextmanager
def monitored(
    settings: MonitoringSettings | None, component: str, ledger: Callable[[], Ledger], *, every_s: float | None
) -> Iterator[Loop]:
    """Answer probes and Prometheus for as long as a part runs.

    Args:
        settings: of the port; None for none.
        component: its name in the metrics.
        ledger: gives the one whose numbers are metrics too; asked when it is needed, for it may be away at the start.
        every_s: the longest that it waits between two passes, in seconds; None for a part that has none, and is ready
            where the ledger answers.

    Yields:
        What its passes are measured by.

    Raises:
        InvalidInputError: the token's file is not there, or too short to hold a secret.
        UnavailableError: the port is taken.
    """
    hung_after_s = settings.hung_after_s if settings is not None else _NEVER_S
    loop = Loop(component, hung_after_s + every_s if every_s is not None else _NEVER_S)
    if settings is None:
        yield loop
        return
    loop.registry.register(LedgerMetrics(lambda: Statistics(ledger().engine).read()))
    not_ready: Probe = loop.not_ready if every_s is not None else lambda: _silent(ledger)
    served = (loop.hung, not_ready, loop.registry, _token(settings))
    with listening("monitoring.port", (settings.host, settings.port), *served) as server:
        log.info("probes and metrics of the %s: http://%s:%d", component, settings.host, server.server_port)
        yield loop


def _silent(ledger: Callable[[], Ledger]) -> str | None:
    try:
        ledger().ping()
    except BulkheadError as error:
        return str(error)
    return None


def _token(settings: MonitoringSettings) -> str | None:
    if settings.token_file is None:
        return None if settings.is_local else ""
    field, path = "monitoring.token_file", settings.token_file
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidInputError(field, path, f"name a readable file: {error}") from error
    if len(token) < SHORTEST_TOKEN:
        raise InvalidInputError(field, path, f"give it at least {SHORTEST_TOKEN} characters")
    return token
