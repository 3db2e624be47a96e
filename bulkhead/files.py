"""Files that several processes read while one writes; temporary files that a process which is killed leaves to none."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def write_json(path: Path, value: Any) -> None:
    """Replace a file by one atomic, durable rename, so that a reader or a crash never meets half of it.

    Args:
        value: what ``json`` can write.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file; None if there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def make_private(folder: Path) -> None:
    """Make a folder that only its user may look into, and the folders above it that are missing, alike.

    Args:
        folder: what is there already stays as it is.
    """
    for parent in (*reversed(folder.parents), folder):  # mkdir(parents=True) would leave the folders above to the umask
        if not parent.is_dir():
            parent.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def temporary_files(parent: Path) -> Iterator[Path]:
    """A folder for all temporary files of this process and its children, removed at its end.

    A process that is killed removes nothing: the next one that comes here does.

    Args:
        parent: folder of such folders; made with mode 0700.

    Yields:
        The folder; ``tempfile`` and ``TMPDIR`` name it.
    """
    try:
        folder, descriptor = _make_held(parent)
    except OSError as error:  # a full disk is no reason for a reconciler not to begin
        log.warning("no folder for temporary files below %s (%s): they go where they went before", parent, error)
        yield Path(tempfile.gettempdir())
        return
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    variable, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        os.environ.pop("TMPDIR") if variable is None else os.environ.update(TMPDIR=variable)
        _remove(folder)
        os.close(descriptor)


def _make_held(parent: Path) -> tuple[Path, int]:
    """A folder, locked for as long as this process lives; those of processes that live no more go."""
    make_private(parent)
    with _locked(parent, fcntl.LOCK_EX):
        for left in parent.iterdir():
            _remove_unless_held(left)
        folder = Path(tempfile.mkdtemp(dir=parent))
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return folder, descriptor


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _remove_unless_held(folder: Path) -> None:
    try:
        with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            _remove(folder)
    except BlockingIOError:  # its process lives
        return


def _remove(folder: Path) -> None:
    """A file that cannot be removed is no reason for a process not to begin or end its work."""
    if (why := remove_tree(folder)) is not None:
        log.warning("%s stays: %s", folder, why)


def remove_tree(folder: Path) -> OSError | None:
    """Remove a folder; one that is not there is removed already.

    Args:
        folder: with all that is in it.

    Returns:
        Why it, or a part of it, stays; None where it is gone.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None
