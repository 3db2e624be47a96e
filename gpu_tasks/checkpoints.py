"""Checkpoints of a training: written beside it, valid or not there, read again by any number of ranks.

Tensors go through ``torch.distributed.checkpoint`` into safetensors files, everything else into a JSON manifest, so
that reading one never unpickles anything: who may write to the store cannot run code in the job. (DCP's own format
keeps its metadata, and what is no tensor, as pickles.)

A checkpoint is a folder ``step-N`` of a store (``bulkhead.gpu_tasks.stores``). The manifest with the checksums of its
files comes last, and only with it does it get its name. So one that has its name is whole, unless the store loses or
changes it later, which the checksums tell.

Source: ``torch.distributed.checkpoint.hf_storage`` of torch 2.13 for the files and the resharding.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from bulkhead.gpu_tasks.checkpoint_files import RankFileWriter, stager
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.stores.base import Manifest, Save, StoreRefusedError, name_of, step_of
from bulkhead.gpu_tasks.stores.find import store

log = logging.getLogger(__name__)


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
    """A training's checkpoints in a store that all of its ranks see. Every method is called by all of them alike.

    Attributes:
        directory: path of a directory, or a URL (``bulkhead.gpu_tasks.stores``); made where it is missing.
        identity: what the tensors belong to; JSON values by name.
        keep_latest: so many of the newest stay.
        keep_interval: those whose step is a multiple of it stay too; 0 for none.
        counts: what became of the saves so far.
        kept: whether there is one to return to, as far as was known when a save or a search was last waited for: the
            ranks agree about it.
        refused: checkpoints that ``newest`` has passed over, with the reason, in words.
    """

    directory: str | Path
    identity: Mapping[str, Any]
    keep_latest: int = 3
    keep_interval: int = 0
    counts: Counts = field(default_factory=Counts)
    kept: bool = False
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.keep_latest < 1 or self.keep_interval < 0:
            raise ConfigError(
                f"keep_latest = {self.keep_latest}, keep_interval = {self.keep_interval}: give at least 1 and 0"
            )
        self._store, self._ranks = store(self.directory), _Ranks()
        self._pool, self._stager = ThreadPoolExecutor(1, "checkpoints"), stager()
        self._saving: Future[bool] | None = None
        self._begun = 0
        with self._ranks.together():
            self._store.clear(first=self._ranks.first, first_here=self._ranks.first_here)
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
        manifest = Manifest(step, self.identity, state, {})
        json.dumps(asdict(manifest))  # what JSON cannot hold is refused before anything is written
        self._begun += 1
        save = self._store.begin(step, f"{self._session:x}-{self._begun}", self._ranks.number)
        written = async_save(
            dict(tensors),
            storage_writer=RankFileWriter(save.folder),
            process_group=self._ranks.group,
            async_stager=self._stager,
        )
        assert isinstance(written, Future)
        self._saving = self._pool.submit(self._complete, written, save, manifest)
        if wait:
            self.finish()
        self.counts.stalled_s += time.monotonic() - begin

    def finish(self) -> None:
        """Wait for the save in progress, if there is one."""
        if self._saving is not None:
            self.kept = self._saving.result() or self.kept
            self._saving = None

    def close(self) -> None:
        """Wait for the last save, end the thread and give the memory back."""
        self.finish()
        self._pool.shutdown()
        self._stager.close()

    def newest(self) -> Manifest | None:
        """The newest checkpoint that is whole; those that are not are named in ``refused``.

        Raises:
            ConfigError: it belongs to something else than ``identity`` says.
            OSError: the store cannot be read.
        """
        self.finish()
        self.refused.clear()
        chosen = -1
        with self._ranks.together():
            if self._ranks.first:
                chosen = self._newest_whole()
        step = self._ranks.agree(chosen)
        self.kept = step >= 0
        if not self.kept:
            return None
        with self._ranks.together():
            manifest = self._store.manifest(name_of(step))
        if dict(manifest.identity) != json.loads(json.dumps(dict(self.identity))):
            self._release(manifest)
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
            OSError: the store cannot be read.
        """
        self.finish()
        with self._ranks.together():
            if self._ranks.first_here:
                self._store.fetch(manifest)
        try:
            reader = HuggingFaceStorageReader(str(self._store.folder(manifest)))
            with self._ranks.together():
                _compare(reader.read_metadata().state_dict_metadata, tensors, self.at(manifest.step))
            load(dict(tensors), storage_reader=reader, process_group=self._ranks.group)
        except CheckpointException as error:  # a BaseException, which no job expects
            raise StoreRefusedError(
                f"checkpoint {self.at(manifest.step)} cannot be read: {_described(error)}"
            ) from error
        finally:
            self._release(manifest)

    def at(self, step: int) -> str:
        """Where the checkpoint of a step is, once it is saved: its path or URL."""
        return self._store.at(name_of(step))

    def last(self) -> int | None:
        """The latest step of which there is a checkpoint, as the first rank sees it: the others may be ahead of it."""
        self.finish()
        step = -1
        with self._ranks.together():
            if self._ranks.first:
                name = self._store.last()
                step = -1 if name is None else step_of(name) or 0
        step = self._ranks.agree(step)
        return step if step >= 0 else None

    def _newest_whole(self) -> int:
        """Its step; -1 where none is."""
        for name in reversed(self._store.names()):
            try:
                return self._store.verify(name).step
            except StoreRefusedError as error:
                self.refused.append(f"{name}: {error}")
                log.warning("checkpoint %s is refused: %s", name, error)
        return -1

    def _release(self, manifest: Manifest) -> None:
        if self._ranks.first_here:
            self._store.release(manifest)

    def _complete(self, written: Future[Any], save: Save, manifest: Manifest) -> bool:
        """In the background: name what all ranks have written; whether it was. One that fails takes nothing with it."""
        try:
            written.result()
            files: dict[str, str] = {}
            with self._ranks.together(files):
                files |= save.put()
            with self._ranks.together():
                if self._ranks.first:
                    save.commit(replace(manifest, files=dict(sorted(files.items()))))
            self.counts.saved += 1
        # The training goes on with the older ones.
        except (CheckpointException, OSError, RuntimeError) as error:
            self.counts.failed += 1
            log.error("checkpoint of step %d was not saved: %s", manifest.step, _described(error))
            return False
        else:
            if self._ranks.first:
                self._prune()
            return True
        finally:
            save.drop()

    def _prune(self) -> None:
        try:
            many = self._store.names()[: -self.keep_latest]
        except OSError as error:
            log.warning("checkpoints cannot be listed, to see which are too many: %s", error)
            return
        for name in many:
            if not self.keep_interval or (step_of(name) or 0) % self.keep_interval:
                try:
                    self._store.delete(name)
                except OSError as error:
                    log.warning("checkpoint %s is one too many and cannot be deleted: %s", name, error)


class _Ranks:
    """Who takes part: all ranks of the job, by a group of their own, or this process alone."""

    def __init__(self) -> None:
        # Their own: what is saved in the background must not come between the training's collectives.
        self.group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self.number = 0 if self.group is None else dist.get_rank()
        self.first = self.number == 0
        self.first_here = self.group is None or os.environ.get("LOCAL_RANK", "0") == "0"

    def agree(self, number: int) -> int:
        """The first rank's number."""
        if self.group is None:
            return number
        gathered = torch.tensor([number])
        dist.broadcast(gathered, 0, group=self.group)
        return int(gathered.item())

    @contextmanager
    def together(self, shared: dict[str, str] | None = None) -> Iterator[None]:
        """What every rank does, or some for the others: all go on when all are done. If one fails, so do all.

        Args:
            shared: what each has found; afterwards what all have.
        """
        mine: Exception | None = None
        try:
            yield
        except Exception as error:
            if self.group is None:
                raise
            mine = error
        if self.group is None:
            return
        gathered: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, (mine and repr(mine), shared), group=self.group)
        if mine is not None:
            raise mine
        failed = [f"rank {rank}: {what}" for rank, (what, _) in enumerate(gathered) if what is not None]
        if failed:
            raise OSError(", ".join(failed))
        if shared is not None:
            for _, files in gathered:
                shared |= files


def _described(error: BaseException) -> str:
    """An error, and what it was made of: that of each rank where torch has gathered them."""
    if isinstance(error, CheckpointException):
        return ", ".join(f"rank {rank}: {failure[0]!r}" for rank, failure in error.failures.items())
    return repr(error)


def _compare(stored: Mapping[str, Any], expected: Mapping[str, Any], directory: str) -> None:
    """Refuse another model's tensors by name and shape."""
    theirs = {name: tuple(leaf.size) for name, leaf in stored.items()}
    ours = {name: tuple(leaf.shape) for name, leaf in _flat(expected).items()}
    differ = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    if differ:
        first = differ[0]
        raise ConfigError(
            f"checkpoint {directory} is of another model: {len(differ)} tensors differ, the first is {first}: "
            f"{theirs.get(first, 'not there')} in the checkpoint, {ours.get(first, 'not there')} in the model"
        )


def _flat(tensors: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, leaf in tensors.items():
        if isinstance(leaf, Mapping):
            leaves |= _flat(leaf, f"{before}{name}.")
        else:
            leaves[before + name] = leaf
    return leaves
