from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.health.kernel_log import xids
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
