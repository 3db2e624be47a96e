"""What tasks suspect: a pod of theirs failed by what looked like a fault of its device.

It makes a node suspect and no more: a program's own bug looks like that too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from bulkhead.errors import UnavailableError
from bulkhead.health.observation import NodeState, Snapshot

Suspicions = Callable[[datetime], Mapping[str, Sequence[str]]]
"""Reasons by node, of what was said since a time."""

_REMEMBERED = timedelta(hours=1)
_MOST = 3


class TaskSource:
    """The suspicions of tasks.

    Args:
        suspicions: as the ledger has them.
    """

    name = "tasks"

    def __init__(self, suspicions: Suspicions) -> None:
        self._suspicions = suspicions

    def look(self, at: float) -> Snapshot:
        """See ``Source.look``.

        Args:
            at: the time, in seconds since 1970.
        """
        snapshot = Snapshot(self.name, at)
        try:
            found = self._suspicions(datetime.fromtimestamp(at, UTC) - _REMEMBERED)
        except UnavailableError as error:
            snapshot.failed = str(error)
            return snapshot
        snapshot.nodes = {node: NodeState(node, faults=_told(reasons)) for node, reasons in found.items()}
        return snapshot


def _told(reasons: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"a task's pod failed there: {reason}" for reason in reasons[-_MOST:])
