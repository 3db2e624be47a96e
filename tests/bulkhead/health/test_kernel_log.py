from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.health.kernel_log import switch_faults, xids
from bulkhead.health.observation import pci_of

NOW = 1_800_000_000.0


def only(line: str, booted: float | None = None) -> tuple[str, int, float, str]:
    ((pci, event),) = xids([line], NOW, booted)
    return pci, event.xid, event.at, event.text


def test_reads_journalctl() -> None:
    line = "2026-11-25T10:00:00.250000+0100 host kernel: NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off."
    assert only(line) == ("0000:3b:00", 79, 1795597200.25, "pid=1, GPU has fallen off.")


def test_reads_dmesg_with_the_time_since_boot() -> None:
    assert only("[ 12.500000] NVRM: Xid (PCI:0000:3B:00): 13, Graphics", booted=1000.0)[2] == 1012.5


@pytest.mark.parametrize("head", ["", "kernel: ", "[ 12.5] ", "2099-13-45T10:00:00Z "])
def test_a_line_without_a_usable_time_is_of_now(head: str) -> None:
    assert only(f"{head}NVRM: Xid (PCI:0000:3B:00): 13, Graphics")[2] == NOW


def test_a_time_in_the_future_is_not_believed() -> None:
    assert only("2099-01-01T10:00:00Z host kernel: NVRM: Xid (PCI:0000:3B:00): 13, x")[2] == NOW


def test_reads_the_line_of_a_mig_instance() -> None:
    line = "NVRM: Xid (PCI:0000:3b:00 GPU-I:05): 95, pid=7194, Uncontained: LTC TAG"
    assert only(line)[:2] == ("0000:3b:00", 95)


THREE_LINES = [
    "[ 1843.308145] NVRM: The NVIDIA GPU 0000:b3:00.0",
    "               NVRM: (PCI ID: 10de:26b5) installed in this system has",
    "               NVRM: fallen off the bus and is not responding to commands.",
]


@pytest.mark.parametrize(
    "lines",
    [
        ["NVRM: GPU 0000:b3:00.0: GPU has fallen off the bus."],
        ["NVRM: GPU at PCI:0000:b3:00: GPU-1a2b", "NVRM: GPU has fallen off the bus."],
        THREE_LINES,
    ],
)
def test_a_device_that_fell_off_without_an_xid_is_a_79(lines: list[str]) -> None:
    ((pci, event),) = xids(lines, NOW)
    assert (pci, event.xid) == ("0000:b3:00", 79)


def test_who_fell_off_has_to_be_said_near_by() -> None:
    apart = [THREE_LINES[0], "a", "b", THREE_LINES[2]]
    assert list(xids(apart, NOW)) == []


def test_a_fatal_fault_of_a_switch_is_read_and_no_other() -> None:
    fatal = "nvidia-nvswitch0: SXid (PCI:0000:c4:00.0): 20034, Fatal, Link 30 LTSSM Fault Up"
    lines = [fatal, fatal.replace("Fatal, Link", "Non-fatal, Link"), "SXid (PCI:zz): 1, Fatal"]
    (found,) = switch_faults(lines, NOW)
    assert found.text == "nvidia-nvswitch0: SXid 20034: Fatal, Link 30 LTSSM Fault Up"


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("[Fri Aug 30 11:43:09 2024]", datetime(2024, 8, 30, 11, 43, 9)),
        ("Feb 14 05:03:41 node-7 kernel: [ 1234.500000]", datetime(2026, 2, 14, 5, 3, 41)),
        ("Dec 31 05:03:41 node-7 kernel:", datetime(2026, 12, 31, 5, 3, 41)),
        ("Jan 16 05:03:41 node-7 kernel:", datetime(2026, 1, 16, 5, 3, 41)),
        ("Feb 29 05:03:41 node-7 kernel:", datetime(2024, 2, 29, 5, 3, 41)),
    ],
)
def test_an_old_line_is_no_event_of_now(stamp: str, at: datetime) -> None:
    assert datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp() == NOW
    assert only(f"{stamp} NVRM: Xid (PCI:0000:cb:00): 79, GPU has fallen off the bus.")[2] == at.timestamp()


@pytest.mark.parametrize(
    "line", ["", "NVRM: Xid (PCI:zz): 79, x", "NVRM: Xid (PCI:0000:3b:00): , x", "Xid (PCI:0000:3b:00): 79, x"]
)
def test_any_other_line_is_nothing(line: str) -> None:
    assert list(xids([line], NOW)) == []


@given(st.text(max_size=200))
def test_never_raises_whatever_comes(text: str) -> None:
    for _, event in xids(
        [text, f"NVRM: Xid ({text}): 1, {text}", f"{text}NVRM: Xid (PCI:0000:3b:00): 79, {text}"], NOW
    ):
        assert event.at <= NOW
    list(switch_faults([text, f"nvidia-nvswitch0: SXid (PCI:{text}): 1, Fatal {text}"], NOW))


@pytest.mark.parametrize(
    ("text", "pci"),
    [
        ("00000000:3B:00.0", "0000:3b:00"),
        ("0000:3b:00", "0000:3b:00"),
        ("3b:00", "0000:3b:00"),
        ("", ""),
        ("a:b:c:d", ""),
        ("zz:00", ""),
    ],
)
def test_bus_ids_have_one_form(text: str, pci: str) -> None:
    assert pci_of(text) == pci
