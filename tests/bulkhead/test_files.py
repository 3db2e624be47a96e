import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bulkhead.files import make_private, read_json, temporary_files, write_json


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1]})
    assert read_json(tmp_path / "a.json") == {"a": [1]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "absent.json") is None


def test_a_value_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert read_json(tmp_path / "a.json") == {"a": 1}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_folder_is_private_and_so_is_what_had_to_be_made_above_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private(tmp_path / "a" / "b")
    make_private(tmp_path / "a" / "b")
    assert [_mode(tmp_path / name) for name in (".", "a", "a/b")] == [0o755, 0o700, 0o700]


def test_temporary_files_go_with_their_process(tmp_path: Path) -> None:
    before, variable = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with temporary_files(tmp_path / "tmp") as folder:
        assert Path(tempfile.mkdtemp()).parent == folder and os.environ["TMPDIR"] == str(folder)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == (before, variable)


def test_what_a_killed_process_left_goes_with_the_next_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys; from bulkhead.files import temporary_files\n"
        "with temporary_files(pathlib.Path(sys.argv[1])) as folder: print(folder, flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        folder = Path(one.stdout.readline().strip())
        with temporary_files(tmp_path):
            assert folder.is_dir()
        one.send_signal(signal.SIGKILL)
        one.wait()
    assert folder.is_dir()
    with temporary_files(tmp_path) as own:
        assert list(tmp_path.iterdir()) == [own]


def test_without_room_for_a_folder_work_begins_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tmp").touch()
    with temporary_files(tmp_path / "tmp") as folder:
        assert folder == Path(tempfile.gettempdir())
    assert "no folder for temporary files" in caplog.text


def test_what_is_no_folder_of_a_process_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "note").write_text("somebody's")
    with temporary_files(tmp_path) as own:
        assert own.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["note"] and "note stays" in caplog.text
