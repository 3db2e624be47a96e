"""Checkpoints in a directory; how they are written, and which are whole, is tested with ``Checkpoints``."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from bulkhead.gpu_tasks.stores.base import Manifest, StoreRefusedError, name_of
from bulkhead.gpu_tasks.stores.directory import Directory


def _save(store: Directory, step: int, attempt: str) -> None:
    save = store.begin(step, attempt, rank=0)
    save.folder.mkdir(parents=True)
    (save.folder / "shard.safetensors").write_bytes(attempt.encode())
    save.commit(Manifest(step, {}, {"attempt": attempt}, save.put()))
    save.drop()


def test_what_was_replaced_and_cannot_be_deleted_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Directory(tmp_path)
    _save(store, 3, "1-1")

    def busy(path: Path, **_: Any) -> None:
        if path.name.endswith("-replaced"):
            raise OSError(16, "Device or resource busy")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", busy)
        _save(store, 3, "1-2")
    assert "what checkpoint step-0000000003 has replaced cannot be deleted" in caplog.text
    assert store.verify(name_of(3)).state == {"attempt": "1-2"}
    store.clear(first=True, first_here=True)
    assert [path.name for path in tmp_path.iterdir()] == [name_of(3)]


def test_a_folder_without_a_manifest_is_none(tmp_path: Path) -> None:
    (tmp_path / name_of(3)).mkdir()
    with pytest.raises(StoreRefusedError, match="not readable: FileNotFoundError"):
        Directory(tmp_path).manifest(name_of(3))


def test_a_directory_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert Directory(tmp_path / "new").names() == []


def test_notes_are_kept_beside_the_checkpoints(tmp_path: Path) -> None:
    store = Directory(tmp_path / "new")
    assert store.read_note("run") is None
    store.write_note("run", "zwölf")
    assert store.read_note("run") == "zwölf"
    assert store.names() == []
