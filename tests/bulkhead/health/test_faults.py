from __future__ import annotations

from bulkhead.health.faults import faults
from bulkhead.health.observation import XidEvent
from bulkhead.xids import RecommendedAction


def test_what_is_close_together_is_one_fault_and_the_gravest_decides() -> None:
    (fault,) = faults([XidEvent(20.0, 45), XidEvent(0.0, 31), XidEvent(10.0, 79)])
    assert (fault.at, fault.xid.number, fault.others) == (0.0, 79, (31, 45))


def test_what_is_far_apart_are_two_faults() -> None:
    assert [fault.xid.number for fault in faults([XidEvent(0.0, 31), XidEvent(31.0, 79)])] == [31, 79]


def test_a_remapping_beside_a_double_bit_error_asks_to_drain_first() -> None:
    (fault,) = faults([XidEvent(0.0, 48), XidEvent(1.0, 63)])
    assert fault.action is RecommendedAction.DRAIN_AND_RESET


def test_a_45_that_names_its_cause_is_as_grave_as_that() -> None:
    (fault,) = faults([XidEvent(0.0, 45, text="pid=1, Ch 1 caused by previous Xid 79")])
    assert (fault.xid.number, fault.others, fault.action) == (79, (45,), RecommendedAction.REBOOT)
