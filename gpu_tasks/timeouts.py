"""Questions to what may not answer: a file server, a network, a driver, just when a job ends because of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)

_POLL_S = 0.1


def within(limit_s: float, ask: Callable[[], Answer], what: str) -> Answer | None:
    """Ask from a thread, and go on without an answer when none comes. For evidence: what a job can end without.

    Args:
        limit_s: so long at most, in seconds.
        ask: gives the answer, or raises.
        what: is asked, for the log.

    Returns:
        The answer; None where there was none, which is logged.
    """
    answers: list[Answer] = []

    def read() -> None:
        try:
            answers.append(ask())
        except Exception as error:  # noqa: BLE001 - the job ends by something else, which has to be told
            log.warning("%s is not known: %s: %s", what, type(error).__name__, error)

    asked = threading.Thread(target=read, name="ask", daemon=True)
    asked.start()
    asked.join(limit_s)
    if asked.is_alive():
        log.warning("%s is not known within %g s", what, limit_s)
    return answers[0] if answers else None


def settled(read: Callable[[], Mapping[int, Answer]], expected: int, limit_s: float) -> Mapping[int, Answer]:
    """What other processes write, each its own, once nothing is added to it any more.

    Args:
        read: finds what has been written so far, by rank; nothing of a rank that has not begun.
        expected: ranks that are expected to write; more may.
        limit_s: so long at most, in seconds.

    Returns:
        What was found last; of fewer ranks than wanted, or not to its end, where the time was over.
    """
    limit, before = time.monotonic() + limit_s, None
    while (answers := read()) != before or len(answers) < expected:
        if time.monotonic() >= limit:
            break
        before = answers
        time.sleep(_POLL_S)  # between two polls at files of other processes
    return answers
