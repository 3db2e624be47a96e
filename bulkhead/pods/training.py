"""What a training is told of its checkpoints, and how far it has come. Standard library only: pods import it."""

from __future__ import annotations

import os
import re
from pathlib import Path

CHECKPOINTS_VARIABLE = "BULKHEAD_CHECKPOINTS"
"""Environment variable that names the folder of a training's checkpoints: the same at each try of a task."""

PROGRESS_VARIABLE = "BULKHEAD_PROGRESS"
"""Environment variable that names the folder in which each rank leaves signs of progress."""

CHECKPOINT = re.compile(r"step-(\d{10})")
"""Name of a checkpoint in that folder."""


def told_folder(variable: str) -> Path | None:
    """A folder that the environment names; None where it names none.

    Args:
        variable: one of this module's.
    """
    named = os.environ.get(variable)
    return Path(named) if named else None


def last_checkpoint(folder: str | None = None) -> str | None:
    """The checkpoint of the latest step: how far a training has come, whatever ended it.

    Args:
        folder: of the checkpoints; by default what ``CHECKPOINTS_VARIABLE`` says.

    Returns:
        Its path; None where there is none. Whether it is whole is seen by whoever reads it.
    """
    where = Path(folder) if folder else told_folder(CHECKPOINTS_VARIABLE)
    if where is None or not where.is_dir():
        return None
    found = [path for path in where.iterdir() if CHECKPOINT.fullmatch(path.name) and path.is_dir()]
    return str(max(found)) if found else None
