"""Which store a path or URL means, and what it has, without waiting for one that does not answer."""

from __future__ import annotations

from pathlib import Path

from bulkhead.gpu_tasks.stores.base import Store
from bulkhead.gpu_tasks.stores.directory import Directory
from bulkhead.gpu_tasks.timeouts import within
from bulkhead.pods.training import CHECKPOINTS_VARIABLE, from_environment, is_url

_PATIENCE_S = 5.0
"""So long the end of a job waits for the answer; what is asked is evidence only."""


def store(where: str | Path) -> Store:
    """The store that is meant.

    Args:
        where: a path, or a URL that fsspec knows the protocol of.

    Raises:
        ConfigError: it does not.
    """
    if not is_url(str(where)):
        return Directory(Path(where))
    from bulkhead.gpu_tasks.stores.objects import ObjectStore  # fsspec, which pods that keep a directory need not have

    return ObjectStore(str(where))


def last_checkpoint(where: str | None = None, limit_s: float = _PATIENCE_S) -> str | None:
    """The checkpoint of the latest step: how far a training has come, whatever ended it.

    Args:
        where: path or URL of the checkpoints; by default what ``CHECKPOINTS_VARIABLE`` says.
        limit_s: so long at most, in seconds: a file server or a network may be what the job hangs on.

    Returns:
        Its path or URL; None where there is none, or none is told. Whether it is whole is seen when it is read.
    """
    named = where or from_environment(CHECKPOINTS_VARIABLE)
    if named is None:
        return None

    def last() -> str | None:
        kept = store(named)
        name = kept.last()
        return kept.at(name) if name is not None else None

    return within(limit_s, last, f"the last checkpoint in {named}")
