"""Back-off from what does not answer: each try costs the others the time that it is waited for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime, timedelta

_LONGEST = timedelta(seconds=60)


def back_off(tries: int) -> timedelta:
    """How long to wait before the next try: 1 s, 2 s, 4 s … up to a minute.

    Args:
        tries: how many there were.
    """
    return min(_LONGEST, timedelta(seconds=2 ** min(tries, 10)))


class Backoff:
    """When to try again, for any number of things.

    Args:
        clock: gives the time in UTC.
        longest: wait between two tries.
    """

    def __init__(self, clock: Callable[[], datetime], longest: timedelta = _LONGEST) -> None:
        self._clock, self._longest = clock, longest
        self._failed: dict[Hashable, tuple[int, datetime]] = {}

    def ready(self, what: Hashable) -> bool:
        """Whether to try now."""
        failed = self._failed.get(what)
        # Longer than the longest wait is none: the clock was set back meanwhile.
        return failed is None or not timedelta(0) < failed[1] - self._clock() <= self._longest

    def failed(self, what: Hashable) -> bool:
        """Note that a try has failed.

        Returns:
            Whether it was the first in a row: what to report once, and not at every pass.
        """
        tries = self._failed[what][0] + 1 if what in self._failed else 1
        self._failed[what] = (tries, self._clock() + min(self._longest, back_off(tries - 1)))
        return tries == 1

    def succeeded(self, what: Hashable) -> None:
        """Note that a try has not failed."""
        self._failed.pop(what, None)
