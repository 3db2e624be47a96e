"""Checkpoints: whole or not there, never unpickled, read by another number of ranks."""

import hashlib
import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bulkhead.gpu_tasks.checkpoints import Checkpoints
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.stores.base import MANIFEST
from bulkhead.gpu_tasks.stores.directory import Directory
from bulkhead.gpu_tasks.stores.find import store
from tests.waiting import until

PROGRAM = str(Path(__file__).parents[1] / "programs" / "checkpointing.py")
IDENTITY = {"model": "tiny", "layers": 2}


def _tensors(value: float = 1.0) -> dict[str, Any]:
    return {"model": {"weight": torch.full((4, 3), value)}, "optim": {"step": torch.tensor(value)}}


def _saved(where: Path | str, *steps: int, **more: Any) -> Checkpoints:
    checkpoints = Checkpoints(where, IDENTITY, **more)
    for step in steps:
        checkpoints.save(step, _tensors(step), {"lr": step / 10, "data": {"epoch": 1}})
    checkpoints.finish()
    return checkpoints


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("protocol", ["", "file://", "memory://"])
def test_what_was_saved_comes_back_bit_by_bit(tmp_path: Path, protocol: str) -> None:
    where = f"{protocol}{tmp_path}/kept"
    _saved(where, 7).close()
    checkpoints, found = Checkpoints(where, IDENTITY), _tensors(0)
    manifest = checkpoints.newest()
    assert manifest is not None
    assert (manifest.step, manifest.state) == (7, {"lr": 0.7, "data": {"epoch": 1}})
    checkpoints.load(manifest, found)
    assert torch.equal(found["model"]["weight"], torch.full((4, 3), 7.0))
    assert found["optim"]["step"].item() == 7
    checkpoints.close()


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "new" / "er", IDENTITY).newest() is None


def test_tensors_may_change_while_they_are_written(tmp_path: Path) -> None:
    checkpoints, tensors = Checkpoints(tmp_path, IDENTITY), _tensors(1)
    checkpoints.save(1, tensors, {})
    tensors["model"]["weight"].fill_(99)
    checkpoints.finish()
    found, manifest = _tensors(0), checkpoints.newest()
    assert manifest is not None
    checkpoints.load(manifest, found)
    assert torch.equal(found["model"]["weight"], torch.ones(4, 3))


def test_the_newest_stay_and_every_so_often_one(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, *range(1, 11), keep_latest=2, keep_interval=4)
    assert _names(tmp_path) == [f"step-{step:010d}" for step in (4, 8, 9, 10)]
    assert (checkpoints.counts.saved, checkpoints.counts.failed) == (10, 0)


def test_whether_there_is_one_is_known_once_it_was_waited_for_or_looked_for(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    checkpoints.save(1, _tensors(1), {})
    assert not checkpoints.kept  # on some rank it may still be on its way
    checkpoints.finish()
    assert checkpoints.kept
    again = Checkpoints(tmp_path, IDENTITY)
    assert not again.kept
    assert again.newest() is not None and again.kept
    _truncate(tmp_path / "step-0000000001")
    assert again.newest() is None and not again.kept


def test_a_step_that_is_trained_again_replaces_what_was_saved_of_it(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, 3)
    checkpoints.save(3, _tensors(5), {"again": True}, wait=True)
    manifest = checkpoints.newest()
    assert manifest is not None and manifest.state == {"again": True}
    assert _names(tmp_path) == ["step-0000000003"]


def _truncate(folder: Path) -> None:
    [file] = folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])


def _flip(folder: Path) -> None:
    [file] = folder.glob("*.safetensors")
    body = bytearray(file.read_bytes())
    body[-1] ^= 1
    file.write_bytes(body)


def _lose(folder: Path) -> None:
    [file] = folder.glob("*.safetensors")
    file.unlink()


def _add(folder: Path) -> None:
    (folder / "more.safetensors").write_bytes(b"")


def _unsay(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def _garble(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff{")


def _age(folder: Path) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**data, "format": 99}))


def _rename(folder: Path) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**data, "step": 1}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_truncate, "was changed"),
        (_flip, "was changed"),
        (_lose, "its files are"),
        (_add, "its files are"),
        (_unsay, "is not readable"),
        (_garble, "is not readable"),
        (_age, "its format is 99"),
        (_rename, "it is of step 1"),
    ],
)
def test_one_that_is_not_whole_is_passed_over_and_named(tmp_path: Path, harm: Any, message: str) -> None:
    checkpoints = _saved(tmp_path, 1, 2)
    harm(tmp_path / "step-0000000002")
    manifest = checkpoints.newest()
    assert manifest is not None and manifest.step == 1
    [refused] = checkpoints.refused
    assert refused.startswith("step-0000000002: ") and message in refused


def test_where_all_are_refused_the_training_starts_again(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, 1)
    _flip(tmp_path / "step-0000000001")
    assert checkpoints.newest() is None
    assert len(checkpoints.refused) == 1


def test_another_models_checkpoint_is_refused_by_its_identity(tmp_path: Path) -> None:
    _saved(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"belongs to .*'layers': 2.*, not to .*'layers': 3"):
        Checkpoints(tmp_path, {**IDENTITY, "layers": 3}).newest()


def test_other_tensors_are_refused_by_name_and_shape_before_any_is_filled(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, 1)
    manifest = checkpoints.newest()
    assert manifest is not None
    found = {"model": {"weight": torch.zeros(4, 3), "bias": torch.zeros(2)}, "optim": {"step": torch.tensor(0.0)}}
    with pytest.raises(ConfigError, match=r"1 tensors differ, the first is model\.bias: not there"):
        checkpoints.load(manifest, found)
    assert torch.equal(found["model"]["weight"], torch.zeros(4, 3))
    with pytest.raises(ConfigError, match=r"model\.weight: \(4, 3\) in the checkpoint, \(4, 4\) in the model"):
        checkpoints.load(manifest, {"model": {"weight": torch.zeros(4, 4)}, "optim": {"step": torch.tensor(0.0)}})


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_that_lies_in_the_store_is_unpickled(tmp_path: Path) -> None:
    store, went_off = tmp_path / "store", tmp_path / "went-off"
    checkpoints = _saved(store, 1)
    bomb, folder = pickle.dumps(_Bomb(went_off)), store / "step-0000000001"
    for name in (".metadata", "model.pt", "shard.bin"):  # where torch's other formats keep pickles
        (folder / name).write_bytes(bomb)
    assert checkpoints.newest() is None
    pickle.loads(bomb)  # noqa: S301 - it does go off where it is unpickled
    assert went_off.exists()
    went_off.unlink()
    data = json.loads((folder / MANIFEST).read_text())  # and now by somebody who writes the manifest as well
    data["files"] |= {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    del data["files"][MANIFEST]
    (folder / MANIFEST).write_text(json.dumps(data))
    manifest, found = checkpoints.newest(), _tensors(0)
    assert manifest is not None
    checkpoints.load(manifest, found)
    assert found["optim"]["step"].item() == 1
    assert not went_off.exists()


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, IDENTITY)
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(1, _tensors(), {"model": object()})
    assert _names(tmp_path) == []


@pytest.mark.parametrize("more", [{"keep_latest": 0}, {"keep_interval": -1}])
def test_keeping_none_is_refused(tmp_path: Path, more: Any) -> None:
    with pytest.raises(ConfigError, match="keep"):
        Checkpoints(tmp_path, IDENTITY, **more)


def _full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_save_that_fails_is_counted_and_the_older_one_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = _saved(tmp_path, 1)
    monkeypatch.setattr("os.fsync", _full)
    checkpoints.save(2, _tensors(2), {}, wait=True)
    monkeypatch.undo()
    assert "checkpoint of step 2 was not saved: rank 0: OSError(28, 'No space left on device')" in caplog.text
    assert (checkpoints.counts.saved, checkpoints.counts.failed) == (1, 1)
    assert _names(tmp_path) == ["step-0000000001"]
    checkpoints.save(3, _tensors(3), {}, wait=True)
    assert Directory(tmp_path).verify("step-0000000003").step == 3


def test_a_save_that_fails_is_none_to_return_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = _saved(tmp_path, 1)
    _truncate(tmp_path / "step-0000000001")
    assert checkpoints.newest() is None
    monkeypatch.setattr("os.fsync", _full)
    checkpoints.save(2, _tensors(2), {}, wait=True)
    assert not checkpoints.kept


def _run(where: str, what: str, ranks: int, rows: int = 7) -> dict[str, Any]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, *launcher, PROGRAM, where, what, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    message: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return message


@pytest.mark.parametrize(("write", "read", "protocol"), [(2, 1, ""), (1, 2, ""), (2, 3, "file://")])
def test_another_number_of_ranks_reads_it(tmp_path: Path, write: int, read: int, protocol: str) -> None:
    where = f"{protocol}{tmp_path}"
    message = _run(where, "save", write)
    assert (message["saved"], message["failed"]) == (1, 0)
    assert len(store(where).verify("step-0000000004").files) == write
    assert _run(where, "load", read) == {"step": 4, "state": {"lr": 0.5}, "right": True}


@pytest.mark.faults
@pytest.mark.parametrize("protocol", ["", "file://"])
def test_a_writer_that_is_killed_leaves_only_whole_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    where, temporary = f"{protocol}{tmp_path}/kept", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))  # of the writers
    kept = store(where)
    for _ in range(3):
        command = [sys.executable, PROGRAM, where, "forever", "20000"]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        before = set(kept.names())
        until(lambda before=before: len(set(kept.names()) - before) > 1, "new checkpoints")  # type: ignore[misc]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        named = kept.names()
        assert named
        for name in named:
            kept.release(kept.verify(name))
    reader = Checkpoints(where, {"rows": 20000})
    manifest = reader.newest()
    assert manifest is not None and not reader.refused
    kept.release(manifest)
    files = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert not [path for path in files if ".saving-" in str(path)]
    assert len(files) == sum(1 + len(kept.manifest(name).files) for name in kept.names())
