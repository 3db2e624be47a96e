"""Xids of one device that belong together, as one fault. What each means says ``bulkhead.xids``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bulkhead.health.observation import XidEvent
from bulkhead.xids import STATES_ACTION, RecommendedAction, Xid, row_of, stated_action

TOGETHER_S = 30.0
"""Xids of a device so close to each other, in seconds, are one fault."""


@dataclass(frozen=True)
class Fault:
    """Xids of a device that belong together.

    Attributes:
        at: of the first, in seconds since 1970.
        xid: the one that decides.
        action: what is to be done.
        stated: whether the driver itself has named that action, by a 154.
        job: who had the device, or empty.
        certain: whether it was seen to happen.
        others: numbers of the rest.
    """

    at: float
    xid: Xid
    action: RecommendedAction
    job: str
    certain: bool
    others: tuple[int, ...]
    stated: bool = False


AGAIN = {64: RecommendedAction.CONTACT_SUPPORT, 119: RecommendedAction.REBOOT, 120: RecommendedAction.REBOOT}
"""What is to be done where an Xid comes back after its first action: a remapping that fails again asks for another
board, a GSP for its power."""


def faults(events: Iterable[XidEvent]) -> Sequence[Fault]:
    """Xids of one device, those that belong together as one fault.

    Each within ``TOGETHER_S`` of the one before is of the same fault. The gravest decides; a 45 never does where
    there is another; a 154 overrides the action; a 48 with a 63 or 64 beside it asks to drain first.

    Args:
        events: of the device, in any order.

    Returns:
        The faults, oldest first.
    """
    groups: list[list[XidEvent]] = []
    for event in sorted(events, key=lambda event: event.at):
        if groups and event.at - groups[-1][-1].at <= TOGETHER_S:
            groups[-1].append(event)
        else:
            groups.append([event])
    return [_fault(group) for group in groups]


def _fault(group: Sequence[XidEvent]) -> Fault:
    meant = [(row_of(xid_event.xid, xid_event.text), xid_event) for xid_event in group]
    xid, _ = min(meant, key=lambda pair: (pair[0].attribution.weight, -pair[0].action.weight, pair[1].at))
    numbers = {row.number for row, _ in meant} | {xid_event.xid for xid_event in group}
    action = xid.action
    if xid.number == 48 and numbers & {63, 64}:
        action = RecommendedAction.DRAIN_AND_RESET
    named = (stated_action(event.text) for event in group if event.xid == STATES_ACTION)
    stated = [named_action for named_action in named if named_action is not None]
    action = stated[-1] if stated else action
    job = next((xid_event.job for xid_event in group if xid_event.job), "")
    others = tuple(sorted(numbers - {xid.number}))
    certain = any(xid_event.certain for xid_event in group)
    return Fault(group[0].at, xid, action, job, certain, others, stated=bool(stated))
