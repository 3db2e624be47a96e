from pathlib import Path

import pytest

from bulkhead.pods.training import CHECKPOINTS_VARIABLE, last_checkpoint


def test_the_last_checkpoint_is_that_of_the_latest_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("step-0000000009", "step-0000000010", ".saving-1-11", "notes"):
        (tmp_path / name).mkdir()
    assert last_checkpoint(str(tmp_path)) == str(tmp_path / "step-0000000010")
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path))
    assert last_checkpoint() == str(tmp_path / "step-0000000010")


@pytest.mark.parametrize("where", ["", "nowhere"])
def test_where_there_is_none_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.delenv(CHECKPOINTS_VARIABLE, raising=False)
    assert last_checkpoint(str(tmp_path / where) if where else None) is None
    assert last_checkpoint(str(tmp_path)) is None
