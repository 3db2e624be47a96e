"""Waking the reconciler: who has just written an intent does so, in place of waiting for its next poll."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from watchfiles import watch

from bulkhead.files import make_private

_FILE = "wake"
_POLL_MS = 500


def wake(home: Path) -> None:
    """Wake the reconciler that watches this home. A call that is lost costs half a second, nothing else.

    Args:
        home: Bulkhead's folder.
    """
    folder = _folder(home)
    (folder / _FILE).touch()


def wakeups(home: Path, stop: threading.Event) -> Iterator[None]:
    """When the reconciler should look: at once, at every call of ``wake``, and twice a second.

    Args:
        home: Bulkhead's folder.
        stop: ends the iteration when set.

    Yields:
        None.
    """
    yield
    for _ in watch(_folder(home), yield_on_timeout=True, rust_timeout=_POLL_MS, debounce=20, step=10, stop_event=stop):
        yield


def _folder(home: Path) -> Path:
    folder = home / "wake"
    make_private(folder)
    return folder
