"""One watch for all: the status folder of a runtime, by the kernel's file events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import awatch

from bulkhead.runtimes.local.layout import Layout

_RESYNC_MS = 5_000


async def changes(root: str | Path) -> AsyncIterator[set[str]]:
    """Which pods' statuses have changed.

    Level-triggered: at the start, and every 5 s with nothing to say, an empty set is yielded; on an empty
    set a reader looks at what it waits for. So no event is needed that was not seen, and a supervisor that
    died without a last word is noticed too.

    Yields:
        Pod ids (``<namespace>.<name>``); an empty set means "poll again".
    """
    layout = Layout(Path(root).absolute())
    layout.make()
    yield set()
    async for batch in awatch(layout.status, yield_on_timeout=True, rust_timeout=_RESYNC_MS, debounce=100, step=20):
        yield {Path(path).name.removesuffix(".json") for _, path in batch if path.endswith(".json")}
