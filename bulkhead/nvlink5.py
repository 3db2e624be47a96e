"""Events of NVLink 5 (Xids 144 to 150): what a line of the driver says, and what NVIDIA says to do about it.

Source: NVIDIA's Xid catalogue (docs.nvidia.com/deploy/xid-errors, "Analyzing Xid errors with the Xid catalog"), its
workflow ``WORKFLOW_NVLINK5_ERR`` for the form of the line, ``<unit> <severity> XC<n> i<n> Link <n> (<intrInfo>
<errorStatus> …)``, and its sheet "XID 144-150 decode", of which ``nvlink5.csv`` keeps the columns that an action
hangs on. Drivers before R575 have other names for some units, and the unit's number in other bits.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

RESET, LEAVE, AS_154_SAYS = "RESET_GPU", "IGNORE", "XID_154_EVAL"
"""NVIDIA's immediate actions; by the last one, the application is started again where no 154 asks for more."""
PEER = "INVESTIGATE_PEER_DEVICE"
"""NVIDIA's investigatory action where the link's other end has ended it."""

_GRAVEST_FIRST = (RESET, AS_154_SAYS, LEAVE)
_LINE = re.compile(
    r"(?:\b(MSE Degraded|\w{3,30})\s+)?\b(Non-?fatal|Fatal)\s+XC ?\d+ i ?(\d+) Link (-?\d+)"
    r"(?: [(\[]0x([0-9a-f]{1,8})(?: 0x([0-9a-f]{1,8}))?)?",
    re.IGNORECASE,
)


class NvlinkEvent(NamedTuple):
    """What a line says.

    Attributes:
        unit: that saw it, in capitals, or empty.
        fatal: whether the driver calls it that.
        injected: whether a test has made it.
        link: number of the link.
        info: first word of its registers (``intrInfo``); None where the line has none.
        status: second word (``errorStatus``), likewise.
    """

    unit: str
    fatal: bool
    injected: bool
    link: int
    info: int | None
    status: int | None


class Advice(NamedTuple):
    """What NVIDIA says to do.

    Attributes:
        immediate: the action that brings the device back.
        investigatory: where to look for the cause.
        fatal: whether the catalogue expects it to be.
    """

    immediate: str
    investigatory: str
    fatal: bool


@dataclass(frozen=True)
class _Row:
    match: str
    codes: frozenset[int]
    advice: Advice
    promoted: Sequence[tuple[int, int]]
    action_2: str

    def of(self, event: NvlinkEvent) -> Advice | None:
        return self._advice(event.info) if self._matches(event) else None

    def _matches(self, event: NvlinkEvent) -> bool:
        if self.match == "any":
            return True
        if self.match == "reason":
            return event.info is not None and event.info >> 20 & 0x3F in self.codes
        if event.status is None:
            return False
        return event.status in self.codes if self.match == "value" else any(event.status & bit for bit in self.codes)

    def _advice(self, info: int | None) -> Advice:
        if info is not None and any(info & mask == value for mask, value in self.promoted):
            return self.advice._replace(immediate=self.action_2, fatal=True)
        return self.advice


def read(text: str) -> NvlinkEvent | None:
    """What a line says; None for one that is not of this form.

    Args:
        text: what the kernel's line says after the number of the Xid.
    """
    match = _LINE.search(text)
    if match is None:
        return None
    unit, severity, injected, link, info, status = match.groups()
    words = [int(word, 16) if word is not None else None for word in (info, status)]
    return NvlinkEvent((unit or "").upper(), severity.lower() == "fatal", int(injected) != 0, int(link), *words)


def advice(number: int, event: NvlinkEvent) -> Advice | None:
    """What NVIDIA says to do; the gravest, where several bits of the status are set.

    Args:
        event: what its line says.

    Returns:
        None for what the catalogue does not have.
    """
    advised = [advice for row in _table().get((number, event.unit), ()) if (advice := row.of(event)) is not None]
    return min(advised, key=lambda advice: _GRAVEST_FIRST.index(advice.immediate), default=None)


@cache
def _table() -> Mapping[tuple[int, str], Sequence[_Row]]:
    rows_of: dict[tuple[int, str], list[_Row]] = {}
    text = (files("bulkhead") / "nvlink5.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        row = _Row(
            line["match"],
            frozenset(int(code, 16) for code in line["codes"].split()),
            Advice(line["immediate_action"], line["investigatory_action"], line["severity"] == "fatal"),
            [
                (int(mask, 16), int(value, 16))
                for mask, value in (pair.split(":") for pair in line["action_2_if"].split())
            ],
            line["action_2"],
        )
        for unit in line["units"].split("/"):
            rows_of.setdefault((int(line["xid"]), unit), []).append(row)
    return rows_of
