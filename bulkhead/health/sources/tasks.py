"""What tasks suspect: a pod of theirs failed by what looked like a fault of its device.

It makes a node suspect and no more: a program's own bug looks like that too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bulkhead.errors import UnavailableError
from bulkhead.health.observation import NodeState, Snapshot

Suspected = Callable[[], Mapping[str, Sequence[str]]]
"""Gives the reasons by node."""

_MOST = 3


class TaskSource:
    """The suspicions of tasks.

    Args:
        suspected: gives what counts of their words.
    """

    name = "tasks"

    def __init__(self, suspected: Suspected) -> None:
        self._suspected = suspected

    def poll(self, at: float) -> Snapshot:
        """See ``Source.poll``.

        Args:
            at: the time, in seconds since 1970.
        """
        snapshot = Snapshot(self.name, at)
        try:
            suspected = self._suspected()
        except UnavailableError as error:
            snapshot.failed = str(error)
            return snapshot
        snapshot.nodes = {node: NodeState(node, faults=_fault_texts(reasons)) for node, reasons in suspected.items()}
        return snapshot


def _fault_texts(reasons: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"a task's pod failed there: {reason}" for reason in reasons[-_MOST:])
