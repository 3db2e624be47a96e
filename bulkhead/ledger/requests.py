"""What everything that changes the ledger on request says of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Request:
    """Who asks, why, and under which key; an intent of the ledger records it.

    Attributes:
        key: idempotency key: a request that comes again under its key changes nothing.
        reason: for people; may be empty.
        requested_by: a user, a task or a part of the control plane.
    """

    key: str
    reason: str
    requested_by: str

    def part(self, name: str) -> Request:
        """The same request for one of the things that it needs, under a key of its own.

        Args:
            name: of that thing; the same part has the same key each time.
        """
        return replace(self, key=f"{self.key}/{name}")
