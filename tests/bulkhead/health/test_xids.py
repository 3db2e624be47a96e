from __future__ import annotations

import csv
import io
from importlib.resources import files

import pytest

from bulkhead.health.observation import XidEvent
from bulkhead.health.xids import Action, Blame, catalogue, faults, known, stated_action

APPLICATION = {11, 13, 25, 31, 32, 43, 69, 80}


def test_catalogue_is_complete_and_every_row_says_where_it_is_from() -> None:
    text = (files("bulkhead.health") / "xids.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(catalogue()) == len(rows) > 90
    assert all(row["source"] for row in rows)


def test_what_an_application_does_is_not_the_devices_fault() -> None:
    assert {number for number, one in catalogue().items() if one.blame is Blame.APPLICATION} == APPLICATION


@pytest.mark.parametrize(
    ("number", "action"),
    [(79, Action.REBOOT), *((number, Action.RESET) for number in (48, 62, 64, 95, 109, 119, 120, 140, 143, 158))],
)
def test_device_faults_have_nvidias_action(number: int, action: Action) -> None:
    assert (known(number).blame, known(number).action) == (Blame.DEVICE, action)


def test_an_unknown_xid_is_contained_and_a_person_called() -> None:
    assert (known(9999).blame, known(9999).action) == (Blame.UNKNOWN, Action.CALL)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", Action.RESET),
        ("GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", Action.REBOOT),
        ("GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)", Action.DRAIN_AND_RESET),
        ("GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)", Action.NONE),
        ("GPU recovery action changed from 0x0 (None) to 0x7 (Sing a Song)", None),
        ("nothing of the kind", None),
    ],
)
def test_154_states_an_action(text: str, action: Action | None) -> None:
    assert stated_action(text) is action


def test_what_is_close_together_is_one_fault_and_the_gravest_decides() -> None:
    (fault,) = faults([XidEvent(20.0, 45), XidEvent(0.0, 31), XidEvent(10.0, 79)])
    assert (fault.at, fault.xid.number, fault.others) == (0.0, 79, (31, 45))


def test_what_is_far_apart_are_two_faults() -> None:
    assert [one.xid.number for one in faults([XidEvent(0.0, 31), XidEvent(31.0, 79)])] == [31, 79]


def test_a_remapping_beside_a_double_bit_error_asks_to_drain_first() -> None:
    (fault,) = faults([XidEvent(0.0, 48), XidEvent(1.0, 63)])
    assert fault.action is Action.DRAIN_AND_RESET
