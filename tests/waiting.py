"""Waiting for another process: a bounded look, never a bare sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

# A test that passes never waits so long, and a slow machine must not fail one.
PATIENCE_S = 900

Found = TypeVar("Found")


def until(poll: Callable[[], Found | None], what: str) -> Found:
    """What ``poll`` returns once it is not None (and not False).

    Args:
        poll: asks another process.
        what: is waited for; named when it does not come.
    """
    limit, began = time.monotonic() + PATIENCE_S, time.monotonic()
    while not (found := poll()):
        now = time.monotonic()
        if now > limit:
            raise AssertionError(f"{what}: not after {PATIENCE_S} s")
        # Whoever is asked (an Airflow) has to get on with its work meanwhile: the longer a poll takes, the rarer.
        time.sleep(min(max(0.02, 4 * (now - began)), 1.0))
        began = time.monotonic()
    return found
