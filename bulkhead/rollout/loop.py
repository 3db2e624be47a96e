"""The reconciler's loop: a pass at every wake-up and at every turn of the clock, until something is so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from bulkhead.errors import UnavailableError
from bulkhead.rollout.reconciler import Reconciler
from bulkhead.rollout.wake import wakeups

log = logging.getLogger(__name__)


Around = Callable[[], AbstractContextManager[None]]
"""What is entered for each pass, and sees its error."""


def reconcile_until(
    reconciler: Reconciler, home: Path, done: Callable[[], bool], stop: threading.Event, around: Around = nullcontext
) -> bool:
    """Reconcile until something is so. Safe beside any number of reconcilers, and works where none runs.

    Args:
        reconciler: that does it; it gives its leases back at the end.
        home: folder of the control plane, where it is woken.
        done: asked after each pass.
        stop: ends the loop when set. A ledger that does not answer is waited for: it will.
        around: measures each pass.

    Returns:
        Whether it is so; False where it was stopped before.
    """
    try:
        for _ in wakeups(home, stop):
            try:
                _reconcile_once(reconciler, around)
                if done():
                    return True
            except UnavailableError as error:
                log.warning("cannot reconcile now: %s", error)
            if stop.is_set():
                return False
        return False
    finally:
        reconciler.close()


def _reconcile_once(reconciler: Reconciler, around: Around) -> None:
    """One pass. An unforeseen fault in it costs this pass, and not the control plane."""
    try:
        with around():
            reconciler.run_once()
    except UnavailableError:
        raise
    except Exception:
        log.exception("a pass of the reconciler failed; the next one starts again")
