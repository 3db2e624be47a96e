from pathlib import Path

import pytest

from bulkhead.files import read_json, write_json


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
