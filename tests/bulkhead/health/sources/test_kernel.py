from __future__ import annotations

from pathlib import Path

from bulkhead.health.sources.kernel import KernelLogSource

FELL_OFF = "2026-11-25T10:00:00+00:00 n kernel: NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n"
NOW = 1_800_000_000.0


def message(source: KernelLogSource) -> list[int]:
    return [event.xid for events in source.poll(NOW).xids.values() for event in events]


def test_each_line_is_told_of_once_and_old_ones_not_at_all(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text(FELL_OFF)
    source = KernelLogSource(log, "n")
    assert message(source) == []
    with log.open("a") as stream:
        stream.write(FELL_OFF.replace("79", "48"))
    assert source.poll(NOW).xids.keys() == {"pci/n/0000:3b:00"}
    assert message(source) == []


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.touch()
    source = KernelLogSource(log, "n", from_start=True)
    log.write_text(FELL_OFF[:60])
    assert message(source) == []
    log.write_text(FELL_OFF)
    assert message(source) == [79]


def test_a_file_that_was_rotated_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text(FELL_OFF * 3)
    source = KernelLogSource(log, "n")
    assert message(source) == []
    log.rename(tmp_path / "kern.log.1")
    log.write_text(FELL_OFF)
    assert message(source) == [79]


def test_a_file_that_is_not_there_has_failed(tmp_path: Path) -> None:
    snapshot = KernelLogSource(tmp_path / "absent", "n").poll(NOW)
    assert "absent is not readable" in (snapshot.failed or "")
