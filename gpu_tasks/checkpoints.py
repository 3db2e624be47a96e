"""Checkpoints of a training: written beside it, valid or not there, read again by any number of ranks.

Tensors go through ``torch.distributed.checkpoint`` into safetensors files, everything else into a JSON manifest, so
that reading one never unpickles anything: who may write to the store cannot run code in the job. (DCP's own format
keeps its metadata, and what is no tensor, as pickles.)

A checkpoint is a folder ``step-N``. It is written under another name, every file of it is flushed to the disk, the
manifest with their checksums comes last, and only then does it get its name. So one that has its name is whole, unless
the disk loses or changes it later, which the checksums tell.

Source: ``torch.distributed.checkpoint.hf_storage`` of torch 2.13 for the files and the resharding.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from bulkhead.pods.training import CHECKPOINT
from gpu_tasks.entry import ConfigError

MANIFEST = "manifest.json"
"""File of a checkpoint that says what it is and what belongs to it."""

_FORMAT = 1
_SAVING = ".saving-"
_BLOCK = 1 << 20

log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A checkpoint that is not whole, or not what it says. The text says why."""


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        step: training step after which it was taken.
        identity: what the tensors belong to, for instance the model's configuration; compared on resuming.
        state: everything of the training that is no tensor: JSON values by name.
        files: SHA-256 by file name.
        format: of the folder; another one is refused.
    """

    step: int
    identity: Mapping[str, Any]
    state: Mapping[str, Any]
    files: Mapping[str, str]
    format: int = _FORMAT


@dataclass
class Counts:
    """What became of the saves of this process.

    Attributes:
        saved: that are in the store.
        failed: that are not: the disk was full, a rank did not write.
        stalled_s: seconds that the training has waited for them, in all.
    """

    saved: int = 0
    failed: int = 0
    stalled_s: float = 0.0


@dataclass
class Checkpoints:
    """A training's checkpoints in a folder that all of its ranks see. Every method is called by all of them alike.

    Attributes:
        folder: of the checkpoints; made where it is missing.
        identity: what the tensors belong to; JSON values by name.
        keep: so many of the newest stay.
        keep_every: those whose step is a multiple of it stay too; 0 for none.
        counts: what became of the saves so far.
        refused: checkpoints that ``newest`` has passed over, with the reason, in words.
    """

    folder: Path
    identity: Mapping[str, Any]
    keep: int = 3
    keep_every: int = 0
    counts: Counts = field(default_factory=Counts)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.keep < 1 or self.keep_every < 0:
            raise ConfigError(f"keep = {self.keep}, keep_every = {self.keep_every}: keep at least 1, every 0 or more")
        self._ranks = _Ranks()
        self._pool = ThreadPoolExecutor(1, "checkpoints")
        self._saving: Future[None] | None = None
        if self._ranks.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(f"{_SAVING}*"):
                shutil.rmtree(left)  # of a job that ended in the middle of a save
        self._session = self._ranks.agree(secrets.randbits(62))

    def save(self, step: int, tensors: Mapping[str, Any], state: Mapping[str, Any], *, wait: bool = False) -> None:
        """Save in the background; come back once the tensors may change again. A save that fails is logged and counted.

        Args:
            step: training step that was done.
            tensors: by name, at any depth; on several ranks each gives its own shards (DTensor) or the same.
            state: everything else: JSON values by name.
            wait: come back only when it is in the store.
        """
        begin = time.monotonic()
        self.finish()
        folder = self.folder / f"{_SAVING}{self._session:x}-{step}"
        manifest = Manifest(step, self.identity, state, {})
        json.dumps(asdict(manifest))  # what JSON cannot hold is refused before anything is written
        writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
        written = dcp.async_save(dict(tensors), storage_writer=writer, process_group=self._ranks.group)
        assert isinstance(written, Future)
        self._saving = self._pool.submit(self._complete, written, folder, manifest)
        if wait:
            self.finish()
        self.counts.stalled_s += time.monotonic() - begin

    def finish(self) -> None:
        """Wait for the save in progress, if there is one."""
        if self._saving is not None:
            self._saving.result()
            self._saving = None

    def close(self) -> None:
        """Wait for the last save, and end the thread."""
        self.finish()
        self._pool.shutdown()

    def newest(self) -> Manifest | None:
        """The newest checkpoint that is whole; those that are not are named in ``refused``.

        Raises:
            ConfigError: it belongs to something else than ``identity`` says.
        """
        self.refused.clear()
        chosen = -1
        if self._ranks.first:
            for name in sorted(_named(self.folder), reverse=True):
                try:
                    chosen = verify(self.folder / name).step
                    break
                except RefusedError as error:
                    self.refused.append(f"{name}: {error}")
                    log.warning("checkpoint %s is refused: %s", name, error)
        step = self._ranks.agree(chosen)
        if step < 0:
            return None
        manifest = read_manifest(self.at(step))
        if dict(manifest.identity) != json.loads(json.dumps(dict(self.identity))):
            raise ConfigError(
                f"checkpoint {self.at(step)} belongs to {dict(manifest.identity)}, not to {dict(self.identity)}: "
                "give another folder, or the configuration that it was written with"
            )
        return manifest

    def load(self, manifest: Manifest, tensors: Mapping[str, Any]) -> None:
        """Fill tensors from a checkpoint, whatever number of ranks has written it.

        Args:
            manifest: of ``newest``.
            tensors: to be filled in place; their names and shapes have to be the checkpoint's.

        Raises:
            ConfigError: they are not.
            RefusedError: it cannot be read.
        """
        folder = self.at(manifest.step)
        reader = HuggingFaceStorageReader(str(folder))
        _compare(reader.read_metadata().state_dict_metadata, tensors, folder)
        try:
            dcp.load(dict(tensors), storage_reader=reader, process_group=self._ranks.group)
        except CheckpointException as error:  # a BaseException, which no job expects
            raise RefusedError(f"checkpoint {folder} cannot be read: {_told(error)}") from error

    def at(self, step: int) -> Path:
        """Where the checkpoint of a step is, once it is saved.

        Args:
            step: of the training.
        """
        return self.folder / _name(step)

    def last(self) -> Path | None:
        """The checkpoint of the latest step, as the first rank sees it: the others may be ahead of its renaming.

        Every rank has to ask.
        """
        names = _named(self.folder) if self._ranks.first else []
        step = self._ranks.agree(max((int(name.removeprefix("step-")) for name in names), default=-1))
        return self.at(step) if step >= 0 else None

    def _complete(self, written: Future[Any], folder: Path, manifest: Manifest) -> None:
        """In the background: name what all ranks have written. A save that fails takes nothing with it."""
        try:
            written.result()
            if self._ranks.first:
                _commit(folder, manifest, self.at(manifest.step))
        # The training goes on with the older ones.
        except (CheckpointException, OSError, RuntimeError) as error:
            self.counts.failed += 1
            log.error("checkpoint of step %d was not saved: %s", manifest.step, _told(error))
            if self._ranks.first:
                shutil.rmtree(folder, ignore_errors=True)
            return
        self.counts.saved += 1
        if self._ranks.first:
            self._prune()

    def _prune(self) -> None:
        names = sorted(_named(self.folder))
        for name in names[: -self.keep]:
            if not self.keep_every or int(name.removeprefix("step-")) % self.keep_every:
                aside = self.folder / f"{_SAVING}{self._session:x}-{name}"  # a name is only for what is whole
                try:
                    (self.folder / name).rename(aside)
                    shutil.rmtree(aside)
                except OSError as error:
                    log.warning("checkpoint %s is one too many and cannot be deleted: %s", name, error)


class _Ranks:
    """Who takes part: all ranks of the job, by a group of their own, or this process alone."""

    def __init__(self) -> None:
        # Their own: what is saved in the background must not come between the training's collectives.
        self.group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self.first = self.group is None or dist.get_rank() == 0

    def agree(self, number: int) -> int:
        """The first rank's number."""
        if self.group is None:
            return number
        told = torch.tensor([number])
        dist.broadcast(told, 0, group=self.group)
        return int(told.item())


def verify(folder: Path) -> Manifest:
    """Check a checkpoint file by file.

    Args:
        folder: of it.

    Raises:
        RefusedError: it is not whole.
    """
    manifest = read_manifest(folder)
    there = {path.name for path in folder.iterdir()} - {MANIFEST}
    if there != set(manifest.files):
        raise RefusedError(f"its files are {sorted(there)}, those of its manifest {sorted(manifest.files)}")
    for name, wanted in sorted(manifest.files.items()):
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise RefusedError(f"{name} is not readable: {error}") from error
        if found != wanted:
            raise RefusedError(f"{name} was changed: its SHA-256 is {found[:12]}…, not {wanted[:12]}…")
    if folder.name != _name(manifest.step):
        raise RefusedError(f"it is of step {manifest.step}")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """What a checkpoint says of itself.

    Args:
        folder: of it.

    Raises:
        RefusedError: it says nothing, or not in this form.
    """
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**data)
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(f"{MANIFEST} is not readable: {type(error).__name__}: {error}") from error
    if manifest.format != _FORMAT:
        raise RefusedError(f"its format is {manifest.format}, known is {_FORMAT}")
    return manifest


def _commit(folder: Path, manifest: Manifest, name: Path) -> None:
    files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    whole = Manifest(manifest.step, manifest.identity, manifest.state, files)
    with (folder / MANIFEST).open("x", encoding="utf-8") as stream:
        json.dump(asdict(whole), stream)
        stream.flush()
        os.fsync(stream.fileno())
    _flush(folder)
    aside = folder.with_name(f"{folder.name}-replaced")
    if name.exists():  # of an earlier try, which went back behind this step
        name.rename(aside)
    folder.rename(name)
    _flush(name.parent)
    if aside.exists():
        shutil.rmtree(aside)


def _told(error: BaseException) -> str:
    """An error, and what it was made of: that of each rank where torch has gathered them."""
    if isinstance(error, CheckpointException):
        return ", ".join(f"rank {rank}: {failure[0]!r}" for rank, failure in error.failures.items())
    return repr(error)


def _flush(folder: Path) -> None:
    """Have a folder's entries on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _name(step: int) -> str:
    return f"step-{step:010d}"


def _named(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name)]


def _compare(stored: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Refuse another model's tensors by name and shape."""
    theirs = {name: tuple(one.size) for name, one in stored.items()}
    ours = {name: tuple(one.shape) for name, one in _flat(wanted).items()}
    differ = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    if differ:
        first = differ[0]
        raise ConfigError(
            f"checkpoint {folder} is of another model: {len(differ)} tensors differ, the first is {first}: "
            f"{theirs.get(first, 'not there')} in the checkpoint, {ours.get(first, 'not there')} in the model"
        )


def _flat(tensors: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in tensors.items():
        if isinstance(one, Mapping):
            found |= _flat(one, f"{before}{name}.")
        else:
            found[before + name] = one
    return found
