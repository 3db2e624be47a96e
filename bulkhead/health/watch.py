"""Looking at all sources at once, again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Snapshot
from bulkhead.health.policy import Policy
from bulkhead.health.record import device_stands, dump, load, node_stands
from bulkhead.health.sources.base import Source
from bulkhead.health.verdict import Assessment
from bulkhead.ledger.ledger import Ledger
from bulkhead.text import bounded

log = logging.getLogger(__name__)

_AT_ONCE = 32


class FleetWatch:
    """A fleet's sources, and what is known of its devices by them.

    Args:
        memory: the ledger from which to take up, and in which to leave what is known; None for neither.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        policy: Policy,
        memory: Ledger | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sources = sources
        self._memory, self._clock = memory, clock
        self._fleet = load(memory.fleet.remembered(), policy) if memory is not None else Fleet(policy)
        self._latest = Assessment(clock())

    def poll(self) -> Assessment:
        """Ask all sources, and judge.

        Returns:
            How the fleet stands.
        """
        at = self._clock()
        if self._memory is not None:
            answered = self._memory.quarantines.answered()
            self._fleet.answer({target: at.timestamp() for target, at in answered.items()})
        snapshots: list[Snapshot] = []
        if self.sources:
            with ThreadPoolExecutor(min(_AT_ONCE, len(self.sources))) as pool:
                snapshots = list(pool.map(lambda source: _poll(source, at), self.sources))
        self._latest = self._fleet.take(snapshots, at)
        return self._latest

    def remember(self) -> None:
        """Leave what is known for the next watch.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        if self._memory is not None:
            stands = node_stands(self._latest.nodes.values())
            self._memory.fleet.remember(dump(self._fleet), stands, device_stands(self._latest.devices.values()))


def _poll(source: Source, at: float) -> Snapshot:
    """What a source shows. One that raises an unforeseen error has failed, and the others are heard."""
    try:
        return source.poll(at)
    except Exception as error:
        log.exception("%s: its answer could not be read", source.name)
        return Snapshot(source.name, at, failed=bounded(f"{source.name}: {type(error).__name__}: {error}"))
