"""Questions to what may not answer: a file server, a network, a driver, just when a job ends because of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


def within(limit_s: float, ask: Callable[[], Answer], what: str) -> Answer | None:
    """Ask from a thread, and go on without an answer when none comes. For evidence: what a job can end without.

    Args:
        limit_s: so long at most, in seconds.
        ask: gives the answer, or raises.
        what: is asked, for the log.

    Returns:
        The answer; None where there was none, which is logged.
    """
    found: list[Answer] = []

    def look() -> None:
        try:
            found.append(ask())
        except Exception as error:  # noqa: BLE001 - the job ends by something else, which has to be told
            log.warning("%s is not known: %s: %s", what, type(error).__name__, error)

    asked = threading.Thread(target=look, name="ask", daemon=True)
    asked.start()
    asked.join(limit_s)
    if asked.is_alive():
        log.warning("%s is not known within %g s", what, limit_s)
    return found[0] if found else None
