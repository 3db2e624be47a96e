"""Saying what is being done, and for how long: never silent for more than a few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from rich.console import Console

from bulkhead.errors import UnavailableError

Found = TypeVar("Found")

_BEAT_S = 5.0
_LATE_S = 1.0
_POLL_S = 0.2
_REST = 4
"""Times as long as a poll took, nothing is asked: the process that is asked, on the same machine, is to get on with
its work."""
_LONGEST_REST_S = 1.0


class Progress:
    """Prints one line an event, each with the time since the start.

    Args:
        check: called at every poll while waiting; raises if something that must run has ended.
    """

    def __init__(self, console: Console, check: Callable[[], None]) -> None:
        self._console, self._check = console, check
        self._began = self._beat = time.monotonic()
        self._doing: tuple[str, float] | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Print a line.

        Args:
            text: may hold rich's markup.
        """
        self._beat = time.monotonic()
        self._console.print(f"[dim]{self.elapsed_s:6.1f} s[/dim]  {text}", highlight=False)

    def beat(self, text: str) -> None:
        """Print a line, unless something was printed within the last few seconds.

        Args:
            text: may hold rich's markup.
        """
        if time.monotonic() - self._beat >= _BEAT_S:
            self.say(f"[dim]… {text}[/dim]")

    def wait(
        self, what: str, poll: Callable[[], Found | None], detail: Callable[[], str] = str, limit_s: float = 600
    ) -> Found:
        """Wait until something is there, and say so every few seconds.

        Args:
            poll: returns it, or None while it is not there.
            detail: how far it is, for the line.
            limit_s: after so many seconds it is an error. Generous: what fails ends a process, which is seen at
                once, and a slow machine needs minutes for what a quick one does in seconds.

        Returns:
            What ``poll`` found.

        Raises:
            UnavailableError: it did not come in time.
        """
        began = polled = time.monotonic()
        with self.heard(what):
            while (answer := poll()) is None:
                self._check()
                now = time.monotonic()
                took = now - polled
                if now - began > limit_s:
                    raise UnavailableError(f"{what}: not there after {limit_s:g} s {detail()}")
                if now - self._beat >= _BEAT_S:
                    self.beat(f"{what}, {now - began:.0f} s so far {detail()}")
                time.sleep(max(_POLL_S, min(_REST * took, _LONGEST_REST_S)))  # between two polls at other processes
                polled = time.monotonic()
        return answer

    @contextmanager
    def heard(self, what: str) -> Iterator[None]:
        """Be heard also while a question to a busy process takes long.

        Args:
            what: is being done; where there is something inside it that says so itself, that is told.
        """
        outer, self._doing = self._doing, (what, time.monotonic())
        try:
            with nullcontext() if outer else self._speaking():
                yield
        finally:
            self._doing = outer

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        over = threading.Event()

        def speak() -> None:
            while not over.wait(_POLL_S):
                if self._doing and time.monotonic() - self._beat >= _BEAT_S + _LATE_S:
                    what, began = self._doing
                    self.beat(f"{what}, {time.monotonic() - began:.0f} s so far")

        speaker = threading.Thread(target=speak, name="progress", daemon=True)
        speaker.start()
        try:
            yield
        finally:
            over.set()
            speaker.join()
