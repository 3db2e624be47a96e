"""dcgm-exporter's metrics, as a Prometheus server has scraped them from every node.

An instant query gives values of up to five minutes ago as if they were of now. So the time of the last scrape is
asked for too, and is the reading's.
"""

from __future__ import annotations

from collections.abc import Iterator

from bulkhead.errors import UnavailableError
from bulkhead.health.exposition import Malformed
from bulkhead.health.observation import Snapshot
from bulkhead.health.sources.dcgm import LINK_ERRORS, METRICS, XID_COUNTS, Series, series, take
from bulkhead.metrics.prometheus import Vector, ask

_MOST_BYTES = 256 * 1024 * 1024
_TIMEOUT_S = 20.0
_SCRAPED = "max by (UUID) (timestamp({metrics}))"


class DevicePrometheusSource:
    """A Prometheus server that scrapes the exporters.

    Args:
        url: of its HTTP API.
        token: sent as a bearer token, or None.
        selector: more label matchers, for instance ``cluster="a"``; empty for none.
    """

    def __init__(self, url: str, token: str | None = None, selector: str = "") -> None:
        self.name = url
        self._url, self._token = url, token
        names = "|".join([*METRICS, *sorted(LINK_ERRORS), *XID_COUNTS])
        self._metrics = f'{{__name__=~"{names}"{"," + selector if selector else ""}}}'

    def poll(self, at: float) -> Snapshot:
        """See ``Source.poll``.

        Args:
            at: the time, in seconds since 1970.
        """
        snapshot = Snapshot(self.name, at)
        try:
            values = self._ask(self._metrics, at)
            scraped = {
                labels.get("UUID", ""): value for labels, value in self._ask(_SCRAPED.format(metrics=self._metrics), at)
            }
        except UnavailableError as error:
            snapshot.failed = str(error)
            return snapshot
        take(_samples(values), snapshot)
        for uuid, reading in snapshot.readings.items():
            reading.at = min(scraped.get(uuid, at), at)
        if not snapshot.readings:
            snapshot.failed = f"{self.name} has no metrics of any device"
        newest = max((polled.at for polled in snapshot.readings.values()), default=at)
        # A node whose exporter is away keeps its last values for minutes: it says nothing of its devices.
        current = [polled for polled in snapshot.readings.values() if newest - polled.at < _STALE_S]
        snapshot.covers = frozenset(polled.device.node for polled in current)
        return snapshot

    def _ask(self, query: str, at: float) -> Vector:
        return ask(self._url, query, at, token=self._token, timeout_s=_TIMEOUT_S, most_bytes=_MOST_BYTES)


_STALE_S = 60.0


def _samples(values: Vector) -> Iterator[tuple[str, Series, float] | Malformed]:
    series_of: dict[tuple[tuple[str, str], ...], Series | None] = {}
    for index, (labels, value) in enumerate(values):
        name = labels.pop("__name__", "")
        key = tuple(sorted(labels.items()))
        if key not in series_of:
            series_of[key] = series(labels)
        whose = series_of[key]
        yield Malformed("no device", index) if whose is None else (name, whose, value)
