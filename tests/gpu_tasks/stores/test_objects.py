"""Checkpoints behind a URL: there with their manifest, checked on the way here, and never lost to a network."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from bulkhead.gpu_tasks.checkpoints import Checkpoints
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.stores.base import MANIFEST, Manifest, StoreRefusedError, name_of
from bulkhead.gpu_tasks.stores.objects import ObjectStore

URL = "memory://team/run"
ROOT = "/team/run"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()


def _tensors(value: float = 1.0) -> dict[str, Any]:
    return {"model": {"weight": torch.full((4, 3), value)}}


def _saved(*steps: int, **more: Any) -> Checkpoints:
    checkpoints = Checkpoints(URL, {"model": "tiny"}, **more)
    for step in steps:
        checkpoints.save(step, _tensors(step), {"lr": step / 10})
    checkpoints.finish()
    return checkpoints


def _paths(files: Any, step: int) -> list[str]:
    return sorted(files.find(f"{ROOT}/{name_of(step)}"))


def test_the_newest_stay_and_nothing_is_left_of_the_others(files: Any, tmp_path: Path) -> None:
    checkpoints = _saved(*range(1, 7), keep_latest=2, keep_interval=3)
    assert ObjectStore(URL).names() == [name_of(step) for step in (3, 5, 6)]
    assert len(files.find(ROOT)) == 6
    assert (checkpoints.counts.saved, checkpoints.counts.failed) == (6, 0)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_step_that_is_saved_again_replaces_the_older_one_at_once(files: Any) -> None:
    checkpoints = _saved(3)
    before = _paths(files, 3)
    checkpoints.save(3, _tensors(5), {"again": True}, wait=True)
    assert len(_paths(files, 3)) == 2 and set(_paths(files, 3)) & set(before) == {f"{ROOT}/{name_of(3)}/{MANIFEST}"}
    manifest, found = checkpoints.newest(), _tensors(0)
    assert manifest is not None and manifest.state == {"again": True}
    checkpoints.load(manifest, found)
    assert torch.equal(found["model"]["weight"], torch.full((4, 3), 5.0))


def test_what_a_save_has_left_that_was_interrupted_is_deleted(files: Any) -> None:
    _saved(1).close()
    whole = _paths(files, 1)
    for name in (f"{name_of(1)}/ff-1/shard.safetensors", f"{name_of(2)}/ff-2/shard.safetensors"):
        files.pipe_file(f"{ROOT}/{name}", b"half")
    files.pipe_file(f"{ROOT}/notes/shard.safetensors", b"somebody's")
    assert ObjectStore(URL).names() == [name_of(1)]
    _saved()
    assert _paths(files, 1) == whole and _paths(files, 2) == []
    assert files.exists(f"{ROOT}/notes/shard.safetensors")


def _flip(files: Any, path: str) -> None:
    body = files.cat_file(path)
    files.pipe_file(path, body[:-1] + bytes([body[-1] ^ 1]))


def _shorten(files: Any, path: str) -> None:
    files.pipe_file(path, files.cat_file(path)[:-1])


def _lose(files: Any, path: str) -> None:
    files.rm_file(path)


@pytest.mark.parametrize(
    ("harm", "message"), [(_flip, "was changed"), (_shorten, "was changed"), (_lose, "a file of it is not there")]
)
def test_one_that_is_not_whole_is_passed_over_and_named(files: Any, tmp_path: Path, harm: Any, message: str) -> None:
    checkpoints = _saved(1, 2)
    [shard] = [path for path in _paths(files, 2) if not path.endswith(MANIFEST)]
    harm(files, shard)
    manifest = checkpoints.newest()
    assert manifest is not None and manifest.step == 1
    [refused] = checkpoints.refused
    assert refused.startswith(f"{name_of(2)}: ") and message in refused
    assert not list(tmp_path.rglob(f"read-{name_of(2)}*"))


def test_one_whose_manifest_is_garbled_is_refused_and_kept_as_evidence(files: Any) -> None:
    _saved(1, 2).close()
    files.pipe_file(f"{ROOT}/{name_of(2)}/{MANIFEST}", b"\xff{")
    checkpoints = _saved()
    manifest = checkpoints.newest()
    assert manifest is not None and manifest.step == 1
    assert "is not readable" in checkpoints.refused[0]
    assert len(_paths(files, 2)) == 2


def test_no_file_is_written_outside_of_the_folder_for_what_is_read(files: Any, tmp_path: Path) -> None:
    _saved(1)
    path = f"{ROOT}/{name_of(1)}/{MANIFEST}"
    data = json.loads(files.cat_file(path))
    files.pipe_file(path, json.dumps({**data, "files": {"../../gotcha": "00"}}).encode())
    with pytest.raises(StoreRefusedError, match="is no name of a file of it"):
        ObjectStore(URL).verify(name_of(1))
    assert not list(tmp_path.parent.rglob("gotcha"))


class _AwayError(Exception):
    """Of a library that has errors of its own."""


def _away(*_: Any, **__: Any) -> None:
    raise _AwayError("no route to host")


@pytest.mark.parametrize("what", ["put_file", "pipe_file"])
def test_a_save_that_does_not_get_there_is_counted_and_the_older_one_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    checkpoints = _saved(1)
    monkeypatch.setattr(MemoryFileSystem, what, _away)
    checkpoints.save(2, _tensors(2), {}, wait=True)
    monkeypatch.undo()
    assert "checkpoint of step 2 was not saved" in caplog.text and "_AwayError: no route to host" in caplog.text
    assert (checkpoints.counts.saved, checkpoints.counts.failed) == (1, 1)
    assert checkpoints.last() == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("what", ["find", "cat_file", "get_file"])
def test_a_store_that_is_away_is_no_reason_to_starts_again(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    checkpoints = _saved(1)
    monkeypatch.setattr(MemoryFileSystem, what, _away)
    with pytest.raises(OSError, match=r"memory://team/run: _AwayError: no route to host"):
        checkpoints.newest()
    assert not checkpoints.refused


def test_what_was_read_is_not_kept_here(tmp_path: Path) -> None:
    checkpoints = _saved(1)
    manifest = checkpoints.newest()
    assert manifest is not None and list(tmp_path.rglob("read-*"))
    checkpoints.load(manifest, _tensors(0))
    assert not list(tmp_path.rglob("read-*"))
    with pytest.raises(ConfigError, match="belongs to"):
        Checkpoints(URL, {"model": "other"}).newest()
    assert not list(tmp_path.rglob("read-*"))


def test_a_folder_for_temporary_files_that_somebody_else_has_made_is_refused(tmp_path: Path) -> None:
    store = ObjectStore(URL)
    store.clear(first=True, first_here=True)
    [own] = tmp_path.iterdir()
    assert own.stat().st_mode & 0o777 == 0o700
    own.rmdir()
    (tmp_path / "theirs").mkdir()
    own.symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigError, match="belongs to another user"):
        store.clear(first=True, first_here=True)
    with pytest.raises(ConfigError, match="belongs to another user"):
        store.fetch(Manifest(1, {}, {}, {}))


def test_notes_are_kept_beside_the_checkpoints() -> None:
    store = ObjectStore(URL)
    assert store.read_note("run") is None
    store.write_note("run", "one")
    store.write_note("run", "zwölf")
    assert store.read_note("run") == "zwölf"
    assert store.names() == []


class Killed(BaseException):
    """The process ends here."""


def test_a_writer_killed_while_it_writes_to_a_folder_leaves_no_half_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"file://{tmp_path}/kept"
    checkpoints = Checkpoints(where, {"model": "tiny"})
    checkpoints.save(1, _tensors(), {}, wait=True)
    local = fsspec.filesystem("file", auto_mkdir=True)

    def opened_and_killed(self: Any, path: str, value: bytes, **_: Any) -> None:
        Path(path).write_bytes(value[: len(value) // 2])
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(type(local), "pipe_file", opened_and_killed)
        store, manifest = ObjectStore(where), ObjectStore(where).manifest(name_of(1))
        with pytest.raises(Killed):
            store.publish(manifest)
        with pytest.raises(Killed):
            store.write_note("note", "checked")
    assert ObjectStore(where).manifest(name_of(1)) == manifest
    assert ObjectStore(where).read_note("note") is None
    again = Checkpoints(where, {"model": "tiny"})  # which clears what was left
    again.save(2, _tensors(2), {}, wait=True)
    assert not list((tmp_path / "kept").rglob("step-*/**/*.unfinished"))
