"""Xids: what each means, whose fault it is, and what NVIDIA says to do.

Source: NVIDIA's Xid catalogue (docs.nvidia.com/deploy/xid-errors, "Analyzing Xid errors with the Xid catalog"). Each
row of ``xids.csv`` keeps NVIDIA's own actions beside ours, and says where it is from.
"""

from __future__ import annotations

import csv
import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bulkhead.health.observation import XidEvent

TOGETHER_S = 30.0
"""Xids of a device so close to each other, in seconds, are one fault."""


class Blame(enum.StrEnum):
    """Whose fault an Xid is."""

    APPLICATION = "application"
    """The program that had the device: an address out of bounds, a bad command buffer."""

    DEVICE = "device"
    LINK = "link"
    """NVLink: the peer's as often as this one's."""

    WATCH = "watch"
    """May be either; one alone ends no work."""

    NOTE = "note"
    """Nothing to do."""

    FOLLOWS = "follows"
    """Another Xid or a kill: no fault of its own."""

    STATES = "states"
    """154: names the action for the Xids beside it."""

    UNKNOWN = "unknown"
    """Not in the catalogue."""


class Action(enum.StrEnum):
    """What is to be done with a device, in the order of how much it takes."""

    NONE = "none"
    RESTART_APP = "restart-app"
    CHECK_LINK = "check-link"
    UPDATE_SOFTWARE = "update-software"
    RESET = "reset"
    DRAIN_AND_RESET = "drain-and-reset"
    REBOOT = "reboot"
    CHECK_MECHANICALS = "check-mechanicals"
    CALL = "call"
    """A person, who may replace it (RMA)."""

    @property
    def weight(self) -> int:
        """Its place in that order."""
        return list(Action).index(self)


@dataclass(frozen=True)
class Xid:
    """A row of the catalogue.

    Attributes:
        number: of the Xid.
        description: NVIDIA's.
        blame: whose fault.
        action: what is to be done first.
        source: of the row.
    """

    number: int
    description: str
    blame: Blame
    action: Action
    source: str


@dataclass(frozen=True)
class Fault:
    """Xids of a device that belong together.

    Attributes:
        at: of the first, in seconds since 1970.
        xid: the one that decides.
        action: what is to be done.
        job: who had the device, or empty.
        certain: whether it was seen to happen.
        others: numbers of the rest.
    """

    at: float
    xid: Xid
    action: Action
    job: str
    certain: bool
    others: tuple[int, ...]


AGAIN = {64: Action.CALL, 119: Action.REBOOT, 120: Action.REBOOT}
"""What is to be done where an Xid comes back after its first action: a remapping that fails again asks for another
board, a GSP for its power."""

_STATED = {
    "none": Action.NONE,
    "drain p2p": Action.CHECK_LINK,
    "drain and reset": Action.DRAIN_AND_RESET,
    "gpu reset required": Action.RESET,
    "node reboot required": Action.REBOOT,
}
_RECOVERY = re.compile(r"\bto\s+0x[0-9a-f]+\s*\(([^)]{1,40})\)", re.IGNORECASE)
_SERIOUS = [
    Blame.DEVICE,
    Blame.UNKNOWN,
    Blame.LINK,
    Blame.WATCH,
    Blame.APPLICATION,
    Blame.NOTE,
    Blame.FOLLOWS,
    Blame.STATES,
]


@cache
def catalogue() -> Mapping[int, Xid]:
    """All known Xids by number."""
    text = (files("bulkhead.health") / "xids.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {
        int(row["xid"]): Xid(
            int(row["xid"]), row["description"], Blame(row["blame"]), Action(row["action"]), row["source"]
        )
        for row in rows
    }


def known(number: int) -> Xid:
    """What an Xid means.

    Args:
        number: of it.

    Returns:
        Its row; for one that is not in the catalogue, one that says so: it is contained, and a person is called.
    """
    unknown = Xid(number, "not in the catalogue", Blame.UNKNOWN, Action.CALL, "none")
    return catalogue().get(number, unknown)


def stated_action(text: str) -> Action | None:
    """The recovery action that the line of an Xid 154 states; None where it states none that is known.

    Args:
        text: ``… GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)``.
    """
    found = _RECOVERY.search(text)
    return _STATED.get(found[1].strip().lower()) if found else None


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
    for event in sorted(events, key=lambda one: one.at):
        if groups and event.at - groups[-1][-1].at <= TOGETHER_S:
            groups[-1].append(event)
        else:
            groups.append([event])
    return [_fault(group) for group in groups]


def _fault(group: Sequence[XidEvent]) -> Fault:
    first = min(group, key=lambda one: (_SERIOUS.index(known(one.xid).blame), -known(one.xid).action.weight, one.at))
    xid, numbers = known(first.xid), {one.xid for one in group}
    action = xid.action
    if xid.number == 48 and numbers & {63, 64}:
        action = Action.DRAIN_AND_RESET
    for event in group:
        stated = stated_action(event.text) if event.xid == 154 else None
        if stated is not None:
            action = stated
    job = next((one.job for one in group if one.job), "")
    others = tuple(sorted(numbers - {xid.number}))
    return Fault(group[0].at, xid, action, job, any(one.certain for one in group), others)
