from __future__ import annotations

import csv
import io
from importlib.resources import files

import pytest

from bulkhead.xids import Attribution, Line, RecommendedAction, catalogue, lines, row_of, stated_action

APPLICATION = {11, 13, 25, 31, 32, 43, 69, 80}


def test_catalogue_is_complete_and_every_row_says_where_it_is_from() -> None:
    text = (files("bulkhead") / "xids.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(catalogue()) == len(rows) > 90
    assert all(row["source"] for row in rows)


def test_what_an_application_does_is_not_the_devices_fault() -> None:
    assert {number for number, one in catalogue().items() if one.attribution is Attribution.APPLICATION} == APPLICATION


@pytest.mark.parametrize(
    ("number", "action"),
    [
        (79, RecommendedAction.REBOOT),
        *((number, RecommendedAction.RESET) for number in (48, 62, 64, 95, 109, 119, 120, 140, 143, 158)),
    ],
)
def test_device_faults_have_nvidias_action(number: int, action: RecommendedAction) -> None:
    assert (row_of(number).attribution, row_of(number).action) == (Attribution.DEVICE, action)


def test_an_unknown_xid_is_contained_and_a_person_called() -> None:
    assert (row_of(9999).attribution, row_of(9999).action) == (Attribution.UNKNOWN, RecommendedAction.CONTACT_SUPPORT)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", RecommendedAction.RESET),
        ("GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", RecommendedAction.REBOOT),
        ("GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)", RecommendedAction.DRAIN_AND_RESET),
        ("GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)", RecommendedAction.NONE),
        ("GPU recovery action changed from 0x0 (None) to 0x7 (Sing a Song)", RecommendedAction.CONTACT_SUPPORT),
        ("GPU recovery action changed from 0x0 (None) to 0xb (Sing a Song)", RecommendedAction.CONTACT_SUPPORT),
        ("GPU recovery action changed from 0x0 (None) to 0x2 (OS Reboot)", RecommendedAction.REBOOT),
        ("GPU recovery action changed from 0x0 (None) to 0x3 (Drain P2P)", RecommendedAction.CHECK_LINK),
        ("nothing of the kind", None),
    ],
)
def test_154_states_an_action(text: str, action: RecommendedAction | None) -> None:
    assert stated_action(text) is action


LINK = "RLW_RXPIPE {} XC0 i{} Link 13 (0x{} 0x00000008 0x00000001 0x00000000 0x00100000 0x00000004)"

EVENT = "NETIR_LINK_EVT  {}   XC0 i0 Link 09 (0x{} 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000)"


@pytest.mark.parametrize(
    ("number", "text", "attribution", "action", "message"),
    [
        (145, LINK.format("Nonfatal", 0, "0409a0c2"), Attribution.NOTE, RecommendedAction.NONE, "nonfatal, link 13"),
        (145, LINK.format("Fatal", 0, "0409a0c2"), Attribution.DEVICE, RecommendedAction.CHECK_LINK, "fatal, link 13"),
        (145, LINK.format("Fatal", 1, "0409a0c2"), Attribution.NOTE, RecommendedAction.NONE, "injected"),
        (
            145,
            "RLW_RXPIPE Nonfatal XC0 i0 Link 13 (0x0409a4c2 0x00000004)",
            Attribution.DEVICE,
            RecommendedAction.RESET,
            "RLW_RXPIPE",
        ),
        (
            145,
            "RLW_REMAP Nonfatal XC1 i0 Link 02 (0x00000004 0x00000001)",
            Attribution.NOTE,
            RecommendedAction.RESTART_APP,
            "REMAP",
        ),
        (
            144,
            "SAW_MVB Nonfatal XC0 i0 Link 02 (0x00000021 0x00000002)",
            Attribution.DEVICE,
            RecommendedAction.RESET,
            "nonfatal, link 2",
        ),
        (
            149,
            EVENT.format("Fatal", "025001c6"),
            Attribution.LINK,
            RecommendedAction.CHECK_LINK,
            "link 9: look at the peer",
        ),
        (
            149,
            EVENT.format("Fatal", "000625c6"),
            Attribution.DEVICE,
            RecommendedAction.RESET,
            "Error, NETIR_LINK_EVT, fatal, link 9",
        ),
        (149, EVENT.format("Fatal", "026001c6"), Attribution.NOTE, RecommendedAction.NONE, "fatal, link 9"),
        (149, EVENT.format("Fatal", "03f001c6"), Attribution.DEVICE, RecommendedAction.CHECK_LINK, "fatal, link 9"),
        (149, EVENT.format("Nonfatal", "03f001c6"), Attribution.NOTE, RecommendedAction.NONE, "nonfatal, link 9"),
        (150, LINK.format("Fatal", 0, "025001c6"), Attribution.DEVICE, RecommendedAction.CHECK_LINK, "fatal"),
        (145, "words of another driver", Attribution.LINK, RecommendedAction.CHECK_LINK, ""),
        (
            45,
            "pid=1, Ch 00000001 caused by previous Xid 149",
            Attribution.LINK,
            RecommendedAction.CHECK_LINK,
            "told by a 45",
        ),
        (
            45,
            "pid=1, Ch 00000001 caused by previous Xid 31",
            Attribution.APPLICATION,
            RecommendedAction.RESTART_APP,
            "told by a 45",
        ),
        (45, "pid=1, Ch 00000001 caused by previous Xid 45", Attribution.FOLLOWS, RecommendedAction.NONE, ""),
        (45, "pid=1, Ch 00000001", Attribution.FOLLOWS, RecommendedAction.NONE, ""),
    ],
)
def test_a_line_says_more_than_its_number(
    number: int, text: str, attribution: Attribution, action: RecommendedAction, message: str
) -> None:
    found = row_of(number, text)
    assert (found.attribution, found.action) == (attribution, action)
    assert message in found.description


def test_every_xid_of_a_text_is_read() -> None:
    text = "x\n[1.5] NVRM: Xid (PCI:0000:3b:00 GPU-I:05): 95, pid=1, Uncontained\nXid 31, y\nno Xid here"
    assert list(lines(text)) == [Line("0000:3b:00", 95, "pid=1, Uncontained"), Line("", 31, "y")]
