"""Which store a path or URL means, and what it has, without waiting for one that does not answer."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from bulkhead.pods.training import CHECKPOINTS_VARIABLE, told
from gpu_tasks.stores.base import Store
from gpu_tasks.stores.directory import Directory

_PATIENCE_S = 5.0
"""So long the end of a job waits for the answer; what is asked is evidence only."""

log = logging.getLogger(__name__)


def store(where: str | Path) -> Store:
    """The store that is meant.

    Args:
        where: a path, or a URL that fsspec knows the protocol of.

    Raises:
        ConfigError: it does not.
    """
    if "://" not in str(where):
        return Directory(Path(where))
    from gpu_tasks.stores.objects import Objects  # fsspec, which pods that keep a directory need not have

    return Objects(str(where))


def last_checkpoint(where: str | None = None, limit_s: float = _PATIENCE_S) -> str | None:
    """The checkpoint of the latest step: how far a training has come, whatever ended it.

    Args:
        where: path or URL of the checkpoints; by default what ``CHECKPOINTS_VARIABLE`` says.
        limit_s: so long at most, in seconds: a file server or a network may be what the job hangs on.

    Returns:
        Its path or URL; None where there is none, or none is told. Whether it is whole is seen by whoever reads it.
    """
    named = where or told(CHECKPOINTS_VARIABLE)
    if named is None:
        return None
    found: list[str] = []

    def look() -> None:
        try:
            kept = store(named)
            found.extend(kept.at(name) for name in kept.names()[-1:])
        except Exception as error:  # noqa: BLE001 - the job ends by something else, which has to be told
            log.warning("checkpoints in %s cannot be listed: %s: %s", named, type(error).__name__, error)

    asked = threading.Thread(target=look, name="last-checkpoint", daemon=True)
    asked.start()
    asked.join(limit_s)
    if asked.is_alive():
        log.warning("checkpoints in %s cannot be listed within %g s", named, limit_s)
    return found[0] if found else None
