"""A rollout's events in the log of the task that waits for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bulkhead.ledger.ledger import Ledger
from bulkhead.rollout.sentences import sentence

_LATE = timedelta(seconds=10)
"""What is logged so much later than it happened says when it happened: the line's own stamp does not."""


def log_events(
    write: Callable[..., None],
    ledger: Ledger,
    rollout_id: int,
    after: int,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Log what has happened to a rollout since, a sentence each.

    Args:
        write: logs a line, as ``logging.Logger.info``.
        rollout_id: in the ledger.
        after: id of the last event that was logged; 0 for all.
        clock: gives the time in UTC.

    Returns:
        Id of the last event that is logged now.

    Raises:
        UnavailableError: the ledger does not answer; nothing was logged.
    """
    events, rollout = ledger.events.select(rollout_id, after=after), ledger.rollouts.get(rollout_id)
    for event in events:
        if (words := sentence(event, rollout)) is not None:
            late = clock() - event.at > _LATE
            write("%s%s", f"At {event.at.astimezone(UTC):%H:%M:%S} UTC: " if late else "", words)
    return events[-1].id if events else after
