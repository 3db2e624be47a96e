"""Folders among the temporary files whose names can be guessed, so that several processes find them."""

from __future__ import annotations

import os
from pathlib import Path

from bulkhead.gpu_tasks.errors import ConfigError


def own_folder(path: Path) -> Path:
    """A folder that only its user can write to; made where it is missing.

    Returns:
        The same.

    Raises:
        ConfigError: another user has made it, who could give us what is not ours.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise ConfigError(f"{path} belongs to another user; set TMPDIR to a folder of your own")
    return path
