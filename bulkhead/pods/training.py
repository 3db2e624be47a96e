"""What a training is told of its checkpoints and its signs of progress. Standard library only: pods import it."""

from __future__ import annotations

import os
import re
from typing import Any

CHECKPOINTS_VARIABLE = "BULKHEAD_CHECKPOINTS"
"""Environment variable that names the folder or URL of a training's checkpoints: the same at each try of a task."""

PROGRESS_VARIABLE = "BULKHEAD_PROGRESS"
"""Environment variable that names the folder in which each rank leaves signs of progress."""

PARAMETERS_VARIABLE = "BULKHEAD_PARAMETERS"
"""Environment variable that holds a training's parameters: a JSON object."""

_LONGEST_LINEAGE = 500

CHECKPOINT = re.compile(r"step-(\d{10})")
"""Name of a checkpoint in that folder."""


def training_data(run: Any) -> str:
    """Data that an MLflow run has logged (``mlflow.log_input``), for people and for a revision's evidence.

    Args:
        run: as MLflow's client returns it.

    Returns:
        ``name@digest`` of each, sorted, at most 500 characters; empty where it has logged none.
    """
    used = [dataset_input.dataset for dataset_input in (run.inputs.dataset_inputs if run.inputs is not None else [])]
    return ", ".join(sorted({f"{data.name}@{data.digest}" for data in used}))[:_LONGEST_LINEAGE]


def from_environment(variable: str) -> str | None:
    """What the environment names; None where it names nothing.

    Args:
        variable: one of this module's.
    """
    return os.environ.get(variable) or None


def is_url(checkpoints: str) -> bool:
    """Whether checkpoints are reached by the network, and not on a volume.

    Args:
        checkpoints: path or URL of them.
    """
    return "://" in checkpoints


def user_with_password(url: str) -> str | None:
    """The user of a URL that has a password in it, which all would read who may read pods; None where it has none.

    Args:
        url: for instance ``s3://user:password@bucket/folder``.
    """
    user, at, _ = url.partition("://")[2].partition("/")[0].rpartition("@")
    return user.partition(":")[0] if at and ":" in user else None
