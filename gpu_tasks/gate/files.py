"""Reading what a user names by its path or URL."""

from __future__ import annotations

import fsspec

from bulkhead.gpu_tasks.errors import ConfigError


def read(field: str, source: str) -> bytes:
    """Read a file.

    Args:
        field: where its name stands, for errors.
        source: its path, or a URL that fsspec knows.

    Raises:
        ConfigError: it cannot be read; the text names the field and why.
    """
    try:
        with fsspec.open(source, "rb") as file:
            content: bytes = file.read()
    except (OSError, ImportError, ValueError) as away:  # fsspec raises the latter two for a protocol it does not serve
        raise ConfigError(f"{field} = {source!r}: cannot be read: {type(away).__name__}: {away}") from away
    return content
