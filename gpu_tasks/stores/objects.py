"""Checkpoints behind a URL, by fsspec: object stores, which rename nothing but write an object whole or not at all.

Each rank uploads its own files into a part of the checkpoint that no other save has; the manifest comes last, and with
it the checkpoint is there. A save that replaces one has another part, so that the older one is whole until the very
moment that the manifest names the new one.

What is read is copied to this machine first, since tensors are read at random places, and checked on the way: that
takes room for one checkpoint in the directory for temporary files, and one rank of each machine does it for all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fsspec

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.own_folder import own_folder
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

_LOCAL = ("file", "local")

_UNFINISHED = ".unfinished"
"""Ends the name of what is being written to a folder."""

log = logging.getLogger(__name__)


class ObjectStore(Store):
    """A folder of an object store, or of anything else that fsspec has a file system for.

    Args:
        url: of it, for instance ``s3://bucket/folder``; credentials come from where its library looks for them.

    Raises:
        ConfigError: nothing is known by that name, or its library is not installed.
    """

    def __init__(self, url: str) -> None:
        protocol = url.partition("://")[0]
        try:
            self._fs, root = fsspec.core.url_to_fs(url, **({"auto_mkdir": True} if protocol in _LOCAL else {}))
        except (ImportError, ValueError) as error:
            raise ConfigError(f"checkpoints = {url!r}: {error}; install its library, or name another store") from error
        self.where, self._root, self._renames = url, root.rstrip("/"), protocol in _LOCAL
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        self._here = Path(tempfile.gettempdir()) / f"bulkhead-{os.getuid()}-{name}"

    def clear(self, *, first: bool, first_here: bool) -> None:
        """See ``Store``."""
        if first_here:
            for left in own_folder(self._here).iterdir():
                shutil.rmtree(left)
        if first:
            with _reached(self.where):
                for name, paths in self._by_name().items():
                    stay = self._kept(name, paths)
                    for path in paths - stay:
                        self._fs.rm_file(path)

    def begin(self, step: int, attempt: str, rank: int) -> Save:
        """See ``Store``."""
        return _Uploaded(self, name_of(step), attempt, self._here / f"save-{attempt}-{rank}")

    def names(self) -> list[str]:
        """See ``Store``."""
        with _reached(self.where):
            by_name = self._by_name()
        return sorted(name for name, paths in by_name.items() if self.path(name, MANIFEST) in paths)

    def manifest(self, name: str) -> Manifest:
        """See ``Store``."""
        try:
            with _reached(self.where):
                text = self._fs.cat_file(self.path(name, MANIFEST))
        except FileNotFoundError as error:
            raise StoreRefusedError(f"{MANIFEST} is not readable: {type(error).__name__}: {error}") from error
        return parse(text, name)

    def verify(self, name: str) -> Manifest:
        """See ``Store``; what was fetched for it stays until it is released, for ``fetch``."""
        manifest = self.manifest(name)
        self.fetch(manifest)
        return manifest

    def fetch(self, manifest: Manifest) -> None:
        """See ``Store``."""
        folder = self.folder(manifest)
        if (folder / MANIFEST).exists():  # by ``verify``
            return
        own_folder(self._here)  # what lies there is read as if it came from the store
        folder.mkdir()
        try:
            for name in manifest.files:
                with _reached(self.where):
                    self._fs.get_file(self.path(name_of(manifest.step), manifest.part, name), str(folder / name))
            check(folder, manifest)
        except FileNotFoundError as error:
            self.release(manifest)
            raise StoreRefusedError(f"a file of it is not there: {error}") from error
        except (OSError, StoreRefusedError):
            self.release(manifest)
            raise
        (folder / MANIFEST).touch()

    def folder(self, manifest: Manifest) -> Path:
        """See ``Store``."""
        return self._here / f"read-{name_of(manifest.step)}-{manifest.part}"

    def release(self, manifest: Manifest) -> None:
        """See ``Store``."""
        shutil.rmtree(self.folder(manifest), ignore_errors=True)

    def delete(self, name: str) -> None:
        """See ``Store``."""
        with _reached(self.where):
            self._fs.rm_file(self.path(name, MANIFEST))
            self._fs.rm(self.path(name), recursive=True)

    def read_note(self, name: str) -> str | None:
        """See ``Store``."""
        try:
            with _reached(self.where):
                return str(self._fs.cat_file(self.path(name)).decode())
        except FileNotFoundError:
            return None

    def write_note(self, name: str, text: str) -> None:
        """See ``Store``."""
        with _reached(self.where):
            self._fs.makedirs(self._root, exist_ok=True)
            self._put_whole(self.path(name), text.encode())

    def upload(self, file: Path, *names: str) -> None:
        """Put a file into the store.

        Args:
            names: of it and the folders in which it is, below this store's own.

        Raises:
            OSError: it does not get there.
        """
        with _reached(self.where):
            self._fs.put_file(str(file), self.path(*names))

    def publish(self, manifest: Manifest) -> None:
        """Make a checkpoint be there, instead of the one of the same step.

        Raises:
            OSError: the manifest does not get there.
        """
        name = name_of(manifest.step)
        with _reached(self.where):
            self._put_whole(self.path(name, MANIFEST), json.dumps(asdict(manifest)).encode())
        try:
            with _reached(self.where):
                for path in set(self._fs.find(self.path(name))) - self._of(manifest):
                    self._fs.rm_file(path)
        except OSError as error:  # the new one is there all the same
            log.warning("what checkpoint %s has replaced cannot be deleted: %s", name, error)

    def _put_whole(self, path: str, content: bytes) -> None:
        """Write an object whole or not at all, in a folder too: a writer may be killed at any moment."""
        if not self._renames:
            self._fs.pipe_file(path, content)
            return
        self._fs.pipe_file(f"{path}{_UNFINISHED}", content)
        self._fs.mv(f"{path}{_UNFINISHED}", path)

    def path(self, *names: str) -> str:
        """As the file system calls it.

        Args:
            names: of folders and, last, a file, below this store's own folder.
        """
        return "/".join([self._root, *(name for name in names if name)])

    def _by_name(self) -> dict[str, set[str]]:
        """All files of all checkpoints, whole or not."""
        self._fs.invalidate_cache()  # other processes write to it
        paths_of: dict[str, set[str]] = {}
        for path in self._fs.find(self._root):
            name = path.removeprefix(self._root).lstrip("/").partition("/")[0]
            if step_of(name) is not None:
                paths_of.setdefault(name, set()).add(path)
        return paths_of

    def _kept(self, name: str, paths: set[str]) -> set[str]:
        """Of a checkpoint's files, those that belong to it; all, where its manifest does not say which."""
        if self.path(name, MANIFEST) not in paths:
            return set()
        try:
            return self._of(self.manifest(name))
        except StoreRefusedError:
            return paths

    def _of(self, manifest: Manifest) -> set[str]:
        name = name_of(manifest.step)
        return {self.path(name, MANIFEST), *(self.path(name, manifest.part, file) for file in manifest.files)}


class _Uploaded(Save):
    """A checkpoint of which each rank writes its files on its own machine, and uploads them."""

    def __init__(self, store: ObjectStore, name: str, attempt: str, folder: Path) -> None:
        self.folder, self._store, self._name, self._attempt = folder, store, name, attempt

    def put(self) -> dict[str, str]:
        """See ``Save``."""
        digests = {path.name: digest(path) for path in sorted(self.folder.glob("*"))}
        for name in digests:
            self._store.upload(self.folder / name, self._name, self._attempt, name)
        return digests

    def commit(self, manifest: Manifest) -> None:
        """See ``Save``."""
        self._store.publish(replace(manifest, part=self._attempt))

    def drop(self) -> None:
        """See ``Save``."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _reached(where: str) -> Iterator[Any]:
    """The errors of a file system, whatever its library calls them."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # each library has its own, of no common class; nothing is swallowed
        raise OSError(f"{where}: {type(error).__name__}: {error}") from error
