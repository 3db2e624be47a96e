"""Xids: what each means, whose fault it is, and what NVIDIA says to do. The one table of them.

Sources: NVIDIA's Xid catalogue (docs.nvidia.com/deploy/xid-errors, "Analyzing Xid errors with the Xid catalog"), of
which each row of ``xids.csv`` keeps NVIDIA's own actions beside ours; and for what a line of the kernel's log says
beside the number, NVIDIA's open-gpu-kernel-modules (``NVRM: Xid (PCI:0000:3b:00 GPU-I:05): …``), and its workflows of
45 ("caused by previous Xid") and 154; those of NVLink 5 has ``bulkhead.nvlink5``.
"""

from __future__ import annotations

import csv
import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from bulkhead import nvlink5


class Attribution(enum.StrEnum):
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

    @property
    def weight(self) -> int:
        """Where several stand together, the one with the least decides."""
        return list(_GRAVEST_FIRST).index(self)


class RecommendedAction(enum.StrEnum):
    """What is to be done with a device, in the order of how much it takes."""

    NONE = "none"
    RESTART_APP = "restart-app"
    CHECK_LINK = "check-link"
    UPDATE_SOFTWARE = "update-software"
    RESET = "reset"
    DRAIN_AND_RESET = "drain-and-reset"
    REBOOT = "reboot"
    CHECK_MECHANICALS = "check-mechanicals"
    CONTACT_SUPPORT = "contact-support"
    """A person, who may replace it (RMA)."""

    @property
    def weight(self) -> int:
        """Its place in that order."""
        return list(RecommendedAction).index(self)


_GRAVEST_FIRST = (
    Attribution.DEVICE,
    Attribution.UNKNOWN,
    Attribution.LINK,
    Attribution.WATCH,
    Attribution.APPLICATION,
    Attribution.NOTE,
    Attribution.FOLLOWS,
    Attribution.STATES,
)


@dataclass(frozen=True)
class Xid:
    """A row of the catalogue.

    Attributes:
        number: of the Xid.
        description: NVIDIA's.
        attribution: whose fault.
        action: what is to be done first.
        source: of the row.
    """

    number: int
    description: str
    attribution: Attribution
    action: RecommendedAction
    source: str


class Line(NamedTuple):
    """An Xid in a text.

    Attributes:
        pci: bus id of its device as it is written there, or empty.
        number: of the Xid.
        text: what the line says after it.
    """

    pci: str
    number: int
    text: str


_LINE = re.compile(r"\bXid(?: \((?:PCI:)?([0-9a-fA-F:.]{5,20})(?: GPU-I:\w{1,4})?\))?[:,\s]+(\d{1,5})\b,? ?(.*)")
_CAUSED_BY = re.compile(r"caused by previous Xid (\d{1,5})", re.IGNORECASE)
_OF_NVLINK5 = range(144, 151)
STATES_ACTION = 154
"""Of a driver that names the action for the Xids beside it."""
_RECOVERY = re.compile(r"\bto\s+0x([0-9a-f]+)\b", re.IGNORECASE)
RECOVERY = {
    0: RecommendedAction.NONE,
    1: RecommendedAction.RESET,
    2: RecommendedAction.REBOOT,
    3: RecommendedAction.CHECK_LINK,
    4: RecommendedAction.DRAIN_AND_RESET,
}
"""NVML's ``nvmlDeviceGpuRecoveryAction_t``, which a 154 names by its number; its words change from driver to driver."""

_ADVISED: Mapping[str, Mapping[str, Any]] = {
    nvlink5.RESET: {"attribution": Attribution.DEVICE, "action": RecommendedAction.RESET},
    nvlink5.AS_154_SAYS: {
        "attribution": Attribution.NOTE,
        "action": RecommendedAction.RESTART_APP,
    },  # a 154 beside it may ask for more
    nvlink5.LEAVE: {"attribution": Attribution.NOTE, "action": RecommendedAction.NONE},
}


@cache
def catalogue() -> Mapping[int, Xid]:
    """All known Xids by number."""
    text = (files("bulkhead") / "xids.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {
        int(row["xid"]): Xid(
            int(row["xid"]),
            row["description"],
            Attribution(row["attribution"]),
            RecommendedAction(row["action"]),
            row["source"],
        )
        for row in rows
    }


def row_of(number: int, text: str = "") -> Xid:
    """What an Xid means.

    Args:
        text: what the kernel's line says after the number, or empty.

    Returns:
        Its row, as the line has it: a 45 that says which Xid has caused it means that one, an NVLink event is as grave
        as NVIDIA's table says or its line, one that was injected has no culprit. For a number that is not in the
        catalogue a row that says so: it is contained, and a person is called.
    """
    unknown = Xid(number, "not in the catalogue", Attribution.UNKNOWN, RecommendedAction.CONTACT_SUPPORT, "none")
    row = catalogue().get(number, unknown)
    caused_by = _CAUSED_BY.search(text) if row.attribution is Attribution.FOLLOWS else None
    if caused_by is not None and int(caused_by[1]) != number:
        cause = row_of(int(caused_by[1]))
        return replace(cause, description=f"{cause.description}, told by a {number} that it has caused")
    return _of_link(row, text) if number in _OF_NVLINK5 else row


def _of_link(row: Xid, text: str) -> Xid:
    event = nvlink5.read(text)
    if event is None:
        return row
    severity = "fatal" if event.fatal else "nonfatal"
    text = ", ".join(filter(None, (row.description, event.unit, severity, f"link {event.link}")))
    if event.injected:
        return replace(row, description=f"{text}, injected by a test", **_ADVISED[nvlink5.LEAVE])
    advice = nvlink5.advice(row.number, event)
    if advice is None or (event.fatal and not advice.fatal):  # the driver saw what the catalogue has not
        judged = {"attribution": Attribution.DEVICE} if event.fatal else _ADVISED[nvlink5.LEAVE]
        return replace(row, description=text, **judged)
    if advice.investigatory == nvlink5.PEER:
        return replace(row, description=f"{text}: look at the peer")
    return replace(row, description=text, **_ADVISED[advice.immediate])


def stated_action(text: str) -> RecommendedAction | None:
    """The recovery action that the line of an Xid 154 states; None where it states none.

    Args:
        text: ``… GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)``.

    Returns:
        The action by its number; for an unknown number, contact support: it is not said that nothing is to be done.
    """
    match = _RECOVERY.search(text)
    return RECOVERY.get(int(match[1], 16), RecommendedAction.CONTACT_SUPPORT) if match else None


def lines(text: str) -> Iterator[Line]:
    """The Xids of a text, for instance of the end of a log."""
    for line in text.splitlines():
        match = _LINE.search(line)
        if match is not None:
            yield Line(match[1] or "", int(match[2]), match[3].strip())
