"""A folder whose name can be guessed is used only where nobody else has made it."""

from pathlib import Path

import pytest

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.own_folder import own_folder


def test_it_is_made_for_us_alone_and_found_again(tmp_path: Path) -> None:
    path = own_folder(tmp_path / "own")
    assert path.stat().st_mode & 0o777 == 0o700
    assert own_folder(path) == path


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "own").symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigError, match="own belongs to another user; set TMPDIR"):
        own_folder(tmp_path / "own")


def test_somebody_elses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own_folder(tmp_path / "own")
    monkeypatch.setattr("os.getuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        own_folder(path)
