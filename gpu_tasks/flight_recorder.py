"""What NCCL was doing when a job hung: its flight recorder, asked from outside of the ranks.

A rank's NCCL opens a named pipe, and writes what it has recorded to a file when something is written to the pipe. The
file is a pickle, and is left for people: ``torchfrtrace --prefix nccl- FOLDER`` reads those of all ranks.

Source: ``DumpPipe`` and ``HeartbeatMonitor`` of ``ProcessGroupNCCL`` in torch 2.13.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, MutableMapping
from pathlib import Path

from bulkhead.gpu_tasks.own_folder import own_folder
from bulkhead.gpu_tasks.timeouts import settled

_ENTRIES = "2000"
"""Collectives that each rank remembers."""

_PATIENCE_S = 5.0
"""NCCL looks at its pipe once a second."""


def prepare(folder: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Have this rank's NCCL record; before its process group is made. What the user has set stays.

    Args:
        folder: for the files, of the job's progress.

    Raises:
        ConfigError: the folder for the pipes belongs to another user.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment.setdefault("TORCH_FR_BUFFER_SIZE", _ENTRIES)
    environment.setdefault("TORCH_FR_DUMP_TEMP_FILE", str(folder / "nccl-"))
    # Not in the job's folder: that may be on a file system without pipes, and NCCL fails the job where it makes none.
    environment.setdefault("TORCH_NCCL_DEBUG_INFO_PIPE_FILE", f"{own_folder(_pipes(os.getppid()))}/")


def dump(folder: Path, launcher: int, ranks: Iterable[int], patience_s: float = _PATIENCE_S) -> dict[int, Path]:
    """Have ranks of this machine write what they have recorded.

    Args:
        folder: that they were prepared with.
        launcher: process that has started them.
        patience_s: so long at most, in seconds: a process that is stopped writes nothing.

    Returns:
        The files, by rank; none of a rank without NCCL, or that did not write.
    """
    pipes = {rank: folder / f"nccl-{rank}" for rank in ranks}
    for path in pipes.values():
        path.unlink(missing_ok=True)  # of an earlier try in the same folder
    asked = {rank: path for rank, path in pipes.items() if _ask(_pipes(launcher) / f"{rank}.pipe")}

    def sizes() -> dict[int, int]:
        return {rank: size for rank, path in asked.items() if path.exists() and (size := path.stat().st_size)}

    return {rank: asked[rank] for rank in settled(sizes, len(asked), patience_s)} if asked else {}


def _ask(pipe: Path) -> bool:
    """Whether there was a reader."""
    try:
        handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # no pipe, or no reader
        return False
    try:
        os.write(handle, b"1")
    finally:
        os.close(handle)
    return True


def _pipes(launcher: int) -> Path:
    return Path(tempfile.gettempdir()) / f"bulkhead-nccl-{os.getuid()}-{launcher}"
