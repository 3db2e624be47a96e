"""Waiting for another process: a bounded look, never a bare sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found | None], what: str, limit_s: float = 30.0) -> Found:
    """What ``look`` returns once it is not None (and not False).

    Args:
        look: asks another process.
        what: is waited for; named when it does not come.
        limit_s: fail after so many seconds.
    """
    limit = time.monotonic() + limit_s
    while not (found := look()):
        if time.monotonic() > limit:
            raise AssertionError(f"{what}: not after {limit_s:g} s")
        time.sleep(0.02)
    return found
