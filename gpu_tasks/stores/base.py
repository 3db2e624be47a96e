"""What every store of checkpoints does, and what a checkpoint says of itself."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkhead.pods.training import CHECKPOINT

MANIFEST = "manifest.json"
"""File of a checkpoint that says what it is and what belongs to it."""

FORMAT = 1
"""Of the checkpoints that are written here; another one is refused."""

_BLOCK = 1 << 20

log = logging.getLogger(__name__)


class StoreRefusedError(Exception):
    """A checkpoint that is not whole, or not what it says. The text says why."""


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        step: training step after which it was taken.
        identity: what the tensors belong to, for instance the model's configuration; compared on resuming.
        state: everything of the training that is no tensor: JSON values by name.
        files: SHA-256 by file name.
        format: of the checkpoint; another one is refused.
        part: where in the checkpoint its files are; empty where they lie beside the manifest.
    """

    step: int
    identity: Mapping[str, Any]
    state: Mapping[str, Any]
    files: Mapping[str, str]
    format: int = FORMAT
    part: str = ""


class Save(ABC):
    """One checkpoint that is being written. Every rank has its own object of it.

    Attributes:
        folder: on this machine, in which the rank writes its tensors.
    """

    folder: Path

    @abstractmethod
    def put(self) -> dict[str, str]:
        """Bring to the store what was written, once all ranks have.

        Returns:
            SHA-256 by file name, of what this rank answers for.

        Raises:
            OSError: it does not get there.
        """

    @abstractmethod
    def commit(self, manifest: Manifest) -> None:
        """Give the checkpoint its name; from now on it is there. Only the first rank does, once all have put theirs.

        Args:
            manifest: of it, with the files of all ranks.

        Raises:
            OSError: it does not get there.
        """

    @abstractmethod
    def drop(self) -> None:
        """Forget what is not in the store. Every rank does, also after a failure; it never fails itself."""


class Store(ABC):
    """Where the checkpoints of one training are.

    Attributes:
        where: path or URL.
    """

    where: str

    @abstractmethod
    def clear(self, *, first: bool, first_here: bool) -> None:
        """Delete what a job has left that ended in the middle of a save.

        Args:
            first: whether this is the job's first rank.
            first_here: whether it is the first one on its machine.

        Raises:
            OSError: the store cannot be written to.
        """

    @abstractmethod
    def begin(self, step: int, attempt: str, rank: int) -> Save:
        """Begin to write a checkpoint.

        Args:
            attempt: the save, the same on all ranks; no other one has it.
        """

    @abstractmethod
    def names(self) -> list[str]:
        """The checkpoints that there are, whole or not, in the order of their steps.

        Raises:
            OSError: the store cannot be read.
        """

    @abstractmethod
    def manifest(self, name: str) -> Manifest:
        """What a checkpoint says of itself.

        Raises:
            RefusedError: nothing, or not in a form that is known.
            OSError: the store cannot be read.
        """

    @abstractmethod
    def verify(self, name: str) -> Manifest:
        """Check a checkpoint file by file.

        Raises:
            RefusedError: it is not whole.
            OSError: the store cannot be read.
        """

    @abstractmethod
    def fetch(self, manifest: Manifest) -> None:
        """Have a checkpoint's files on this machine; the first rank of each machine does.

        Raises:
            RefusedError: it is not whole.
            OSError: the store cannot be read.
        """

    @abstractmethod
    def folder(self, manifest: Manifest) -> Path:
        """Where ``fetch`` has put the files, for all ranks of the machine."""

    @abstractmethod
    def release(self, manifest: Manifest) -> None:
        """What was fetched is not needed any more; the rank that has fetched it says so."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a checkpoint: first its name, then what it had.

        Raises:
            OSError: it stays, or some of it.
        """

    @abstractmethod
    def read_note(self, name: str) -> str | None:
        """A small text beside the checkpoints.

        Returns:
            It; None where there is none.

        Raises:
            OSError: the store cannot be read.
        """

    @abstractmethod
    def write_note(self, name: str, text: str) -> None:
        """Leave a small text beside the checkpoints, instead of the one of that name.

        Raises:
            OSError: the store cannot be written to.
        """

    def last(self) -> str | None:
        """The checkpoint of the latest step, whole or not; None where there is none.

        Raises:
            OSError: the store cannot be read.
        """
        return next(reversed(self.names()), None)

    def at(self, name: str) -> str:
        """Path or URL of a checkpoint."""
        return f"{self.where.rstrip('/')}/{name}"


def name_of(step: int) -> str:
    """A checkpoint's name."""
    return f"step-{step:010d}"


def step_of(name: str) -> int | None:
    """The step after which a checkpoint was taken; None where it is no checkpoint."""
    match = CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None


def parse(text: bytes, name: str) -> Manifest:
    """A manifest from its JSON.

    Raises:
        RefusedError: it is not of the known form, or another checkpoint's.
    """
    try:
        manifest = Manifest(**json.loads(text))
        _check_types(manifest)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreRefusedError(f"{MANIFEST} is not readable: {type(error).__name__}: {error}") from error
    if manifest.format != FORMAT:
        raise StoreRefusedError(f"its format is {manifest.format}, known is {FORMAT}")
    # They become names on this machine, and who may write to the store is not who may write there.
    names = [*manifest.files, *([manifest.part] if manifest.part else [])]
    strange = [entry for entry in names if entry in ("", ".", "..") or "/" in entry or "\0" in entry]
    if strange:
        raise StoreRefusedError(f"{strange[0]!r} is no name of a file of it")
    if name_of(manifest.step) != name:
        raise StoreRefusedError(f"it is of step {manifest.step}")
    return manifest


def _check_types(manifest: Manifest) -> None:
    """Raise a ``TypeError`` that names the field whose value is of another type."""
    types = {"step": int, "identity": dict, "state": dict, "files": dict, "format": int, "part": str}
    for name, kind in types.items():
        if not isinstance(getattr(manifest, name), kind):
            raise TypeError(f"{name} = {getattr(manifest, name)!r} is no {kind.__name__}")
    for name, sha256 in manifest.files.items():
        if not isinstance(sha256, str):
            raise TypeError(f"files[{name!r}] = {sha256!r} is no str")


def check(folder: Path, manifest: Manifest) -> None:
    """Compare a checkpoint's files with what its manifest says of them.

    Args:
        folder: with the files.

    Raises:
        RefusedError: one is missing or was changed.
    """
    for name, expected in sorted(manifest.files.items()):
        try:
            actual = digest(folder / name)
        except OSError as error:
            raise StoreRefusedError(f"{name} is not readable: {error}") from error
        if actual != expected:
            raise StoreRefusedError(f"{name} was changed: its SHA-256 is {actual[:12]}…, not {expected[:12]}…")


def digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    checksum = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            checksum.update(block)
    return checksum.hexdigest()
