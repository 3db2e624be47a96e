"""The text to train on: the same on every poll, with validation of other files."""

from pathlib import Path

import numpy as np
import pytest

from bulkhead.gpu_tasks import text
from bulkhead.gpu_tasks.errors import ConfigError


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for index in range(40):
        (tmp_path / f"module_{index:02}.py").write_text(f"# {index}\n" * 10)
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "other.py").write_text("# not the library's\n")
    return tmp_path


def test_the_standard_library_is_there_on_every_machine() -> None:
    found = text.load(most_bytes=2_000_000)
    assert len(found.train) + len(found.validation) == 2_000_000
    assert b"def " in found.train.tobytes() and len(found.validation) > 10_000


def test_every_look_finds_the_same_and_a_change_is_noticed(sources: Path) -> None:
    before = text.load(sources)
    assert len(before.files) == 40
    assert text.load(sources).data_hash == before.data_hash
    (sources / "module_07.py").write_text("# changed\n")
    assert text.load(sources).data_hash != before.data_hash


def test_a_files_place_does_not_depend_on_the_others(sources: Path) -> None:
    before = text.load(sources)
    (sources / "a_new_one.py").write_text("# new\n")
    after = text.load(sources)
    new = len(b"# new\n")
    assert {len(after.train) - len(before.train), len(after.validation) - len(before.validation)} == {0, new}


def test_a_sample_is_a_block_and_the_byte_after_it(sources: Path) -> None:
    found = text.load(sources)
    count = found.samples(16)
    blocks = found.blocks(np.array([0, count - 1]), 16)
    assert blocks.shape == (2, 17) and blocks.dtype == np.int64
    assert blocks[0].tolist() == found.train[:17].tolist()
    assert blocks[1].tolist() == found.train[(count - 1) * 16 : count * 16 + 1].tolist()


def test_too_little_text_is_named(tmp_path: Path, sources: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="0 Python files with 0 bytes"):
        text.load(tmp_path / "empty")
    with pytest.raises(ConfigError, match="block = 100000"):
        text.load(sources).samples(100_000)
