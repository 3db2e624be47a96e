"""What every source of observations does."""

from __future__ import annotations

from typing import Protocol

from bulkhead.health.observation import Snapshot


class Source(Protocol):
    """Says how devices are.

    Attributes:
        name: for people, and to tell sources apart.
    """

    name: str

    def poll(self, at: float) -> Snapshot:
        """What it shows now. Never raises for what the other side does: that is in the snapshot.

        Args:
            at: the time, in seconds since 1970.
        """
