from pathlib import Path

from bulkhead.runtimes.local.logs import RotatingLog


def test_it_appends(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "log")
    log.write(b"one\n")
    log.write(b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_it_rotates_before_it_grows_too_large_and_keeps_one_older_file(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "log", max_bytes=10)
    for text in (b"1" * 8, b"2" * 8, b"3" * 8):
        log.write(text)
    assert (tmp_path / "log").read_bytes() == b"3" * 8
    assert (tmp_path / "log.1").read_bytes() == b"2" * 8
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_loses_the_text_and_counts_it(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    log = RotatingLog(tmp_path / "log")
    log.write(b"lost\n")
    assert (log.lost_bytes, log.last_error) == (5, "No space left on device")
    (tmp_path / "log").unlink()
    log.write(b"and on\n")
    assert (tmp_path / "log").read_bytes() == b"and on\n"


def test_the_tail_is_the_end(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "log")
    assert log.tail(10) == ""
    log.write(b"a" * 20 + b"end")
    assert log.tail(3) == "end"
