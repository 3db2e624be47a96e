"""Looking at all sources at once, again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Snapshot
from bulkhead.health.policy import Policy
from bulkhead.health.record import dump, load
from bulkhead.health.sources.base import Source
from bulkhead.health.verdict import Assessment, NodeVerdict
from bulkhead.ledger.quarantines import Quarantines
from bulkhead.pods.suspicion import Place
from bulkhead.text import bounded

log = logging.getLogger(__name__)

_AT_ONCE = 32


class FleetWatch:
    """A fleet's sources, and what is known of its devices by them.

    Args:
        memory: where to take up from, and to leave what is known; None for neither.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        policy: Policy,
        memory: Quarantines | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sources = sources
        self._memory, self._clock = memory, clock
        self._fleet = load(memory.remembered(), policy) if memory is not None else Fleet(policy)
        self._nodes: Mapping[str, NodeVerdict] = {}

    def poll(self) -> Assessment:
        """Ask all sources, and judge.

        Returns:
            How the fleet stands.
        """
        at = self._clock()
        if self._memory is not None:
            self._fleet.answer({target: at.timestamp() for target, at in self._memory.answered().items()})
        snapshots: list[Snapshot] = []
        if self.sources:
            with ThreadPoolExecutor(min(_AT_ONCE, len(self.sources))) as pool:
                snapshots = list(pool.map(lambda source: _poll(source, at), self.sources))
        assessment = self._fleet.take(snapshots, at)
        self._nodes = assessment.nodes
        return assessment

    def remember(self) -> None:
        """Leave what is known for the next watch.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        if self._memory is not None:
            places = {name: Place(node.product, node.pool, node.usable) for name, node in self._nodes.items()}
            self._memory.remember(dump(self._fleet), places)


def _poll(source: Source, at: float) -> Snapshot:
    """What a source shows. One that raises an unforeseen error has failed, and the others are heard."""
    try:
        return source.poll(at)
    except Exception as error:
        log.exception("%s: its answer could not be read", source.name)
        return Snapshot(source.name, at, failed=bounded(f"{source.name}: {type(error).__name__}: {error}"))
