"""Checkpoints in a directory that all ranks see: written under another name, flushed to the disk, then renamed."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from bulkhead.gpu_tasks.stores.base import (
    MANIFEST,
    Manifest,
    Save,
    Store,
    StoreRefusedError,
    check,
    digest,
    name_of,
    parse,
    step_of,
)

_SAVING = ".saving-"

log = logging.getLogger(__name__)


class Directory(Store):
    """A directory; it is made with the first checkpoint.

    Args:
        path: of it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)

    def clear(self, *, first: bool, first_here: bool) -> None:
        """See ``Store``."""
        if first:
            self.path.mkdir(parents=True, exist_ok=True)
            for left in self.path.glob(f"{_SAVING}*"):
                shutil.rmtree(left)

    def begin(self, step: int, attempt: str, rank: int) -> Save:
        """See ``Store``."""
        return _Written(self, attempt, rank)

    def names(self) -> list[str]:
        """See ``Store``."""
        if not self.path.is_dir():
            return []
        return sorted(path.name for path in self.path.iterdir() if step_of(path.name) is not None and path.is_dir())

    def manifest(self, name: str) -> Manifest:
        """See ``Store``."""
        try:
            text = (self.path / name / MANIFEST).read_bytes()
        except OSError as error:
            raise StoreRefusedError(f"{MANIFEST} is not readable: {type(error).__name__}: {error}") from error
        return parse(text, name)

    def verify(self, name: str) -> Manifest:
        """See ``Store``."""
        manifest, folder = self.manifest(name), self.path / name
        there = {path.name for path in folder.iterdir()} - {MANIFEST}
        if there != set(manifest.files):
            raise StoreRefusedError(f"its files are {sorted(there)}, those of its manifest {sorted(manifest.files)}")
        check(folder, manifest)
        return manifest

    def fetch(self, manifest: Manifest) -> None:
        """Nothing to do: every rank sees the directory."""

    def folder(self, manifest: Manifest) -> Path:
        """See ``Store``."""
        return self.path / name_of(manifest.step)

    def release(self, manifest: Manifest) -> None:
        """Nothing to do: nothing was fetched."""

    def delete(self, name: str) -> None:
        """See ``Store``."""
        aside = self.path / f"{_SAVING}{name}"  # a name is only for what is whole
        (self.path / name).rename(aside)
        shutil.rmtree(aside)

    def read_note(self, name: str) -> str | None:
        """See ``Store``."""
        path = self.path / name
        return path.read_text(encoding="utf-8") if path.exists() else None

    def write_note(self, name: str, text: str) -> None:
        """See ``Store``."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, encoding="utf-8")


class _Written(Save):
    """A checkpoint that all ranks write into the directory. The first one answers for all files."""

    def __init__(self, store: Directory, attempt: str, rank: int) -> None:
        self.folder, self._store, self._first = store.path / f"{_SAVING}{attempt}", store, rank == 0

    def put(self) -> dict[str, str]:
        """See ``Save``."""
        return {path.name: digest(path) for path in sorted(self.folder.iterdir())} if self._first else {}

    def commit(self, manifest: Manifest) -> None:
        """See ``Save``."""
        with (self.folder / MANIFEST).open("x", encoding="utf-8") as stream:
            json.dump(asdict(manifest), stream)
            stream.flush()
            os.fsync(stream.fileno())
        _flush(self.folder)
        name = self._store.path / name_of(manifest.step)
        aside = self.folder.with_name(f"{self.folder.name}-replaced")
        if name.exists():  # of an earlier try, which went back behind this step
            name.rename(aside)
        self.folder.rename(name)
        _flush(name.parent)
        if aside.exists():
            try:
                shutil.rmtree(aside)
            except OSError as error:  # the new one is there all the same
                log.warning("what checkpoint %s has replaced cannot be deleted: %s", name.name, error)

    def drop(self) -> None:
        """See ``Save``."""
        if self._first:
            shutil.rmtree(self.folder, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Have a folder's entries on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
