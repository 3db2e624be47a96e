"""Which store is meant, and how far a training has come, as whoever ends it tells."""

import threading
from pathlib import Path

import fsspec
import pytest

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.stores.directory import Directory
from bulkhead.gpu_tasks.stores.find import last_checkpoint, store
from bulkhead.gpu_tasks.stores.objects import ObjectStore
from bulkhead.pods.training import CHECKPOINTS_VARIABLE


def test_a_path_is_a_directory_and_a_url_is_not(tmp_path: Path) -> None:
    assert isinstance(store(tmp_path), Directory)
    assert isinstance(store(str(tmp_path)), Directory)
    assert isinstance(store(f"file://{tmp_path}"), ObjectStore)


def test_the_last_checkpoint_is_that_of_the_latest_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("step-0000000009", "step-0000000010", ".saving-1-11", "notes"):
        (tmp_path / name).mkdir()
    assert last_checkpoint(str(tmp_path)) == str(tmp_path / "step-0000000010")
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path))
    assert last_checkpoint() == str(tmp_path / "step-0000000010")


def test_behind_a_url_it_is_the_latest_that_has_a_manifest() -> None:
    files = fsspec.filesystem("memory")
    for name in ("step-0000000002/manifest.json", "step-0000000003/1-1/shard.safetensors", "progress/manifest.json"):
        files.pipe_file(f"/found/{name}", b"{}")
    assert last_checkpoint("memory://found") == "memory://found/step-0000000002"


@pytest.mark.parametrize("where", ["", "nowhere"])
def test_where_there_is_none_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.delenv(CHECKPOINTS_VARIABLE, raising=False)
    assert last_checkpoint(str(tmp_path / where) if where else None) is None
    assert last_checkpoint(str(tmp_path)) is None


def test_a_store_that_does_not_answer_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(Directory, "names", lambda self: answered.wait() and ["step-0000000001"])
    assert last_checkpoint(str(tmp_path), limit_s=0.05) is None
    answered.set()


def test_a_store_that_cannot_be_read_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert last_checkpoint("gopher://somewhere") is None
    assert "the last checkpoint in gopher://somewhere is not known: ConfigError" in caplog.text


@pytest.mark.parametrize(("url", "message"), [("gopher://x", "Protocol not known"), ("s3://x", "s3fs")])
def test_what_cannot_be_reached_is_refused_with_the_remedy(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"checkpoints = '{url}': .*{message}.*; install its library"):
        store(url)
