"""Xids and other faults of devices from the kernel's log, as NVIDIA's drivers write them.

Sources: NVIDIA, "Xid Errors": ``NVRM: Xid (PCI:0000:03:00): 14, pid=…, name=…, Channel 00000001``; the driver's own
words where a device drops off without an Xid; NVIDIA's Fabric Manager guide, "SXid".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from bulkhead.health.observation import XidEvent, pci_of
from bulkhead.xids import lines as xid_lines

FALLEN_OFF = 79
"""Xid of a device that has fallen off the bus; the driver does not always write it."""

_LONGEST = 4096
_DRIVER = "NVRM:"
_FALLEN = re.compile(r"NVRM: .*\bfallen off the bus", re.IGNORECASE)
_GPU = re.compile(r"NVRM: (?:The NVIDIA )?GPU (?:at PCI:)?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.\d)?)\b")
_SENTENCE_LINES = 3
"""The driver breaks its sentence about a lost device into as many lines; the first names it."""
_SWITCH = re.compile(r"(nvidia-nvswitch\d+): SXid \(PCI:[0-9a-fA-F:.]{5,20}\): (\d{1,6}), (Fatal\b.*)", re.IGNORECASE)
_ISO = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?\s")
_UPTIME = re.compile(r"^(?:<\d+>)?\[\s*(\d{1,12}\.\d{1,9})\]")
_DMESG_T = re.compile(r"^\[\w{3} (\w{3}) +(\d{1,2}) (\d\d:\d\d:\d\d) (\d{4})\]")
_SYSLOG = re.compile(r"^(?:<\d+>)?(\w{3}) +(\d{1,2}) (\d\d:\d\d:\d\d) ")
_AHEAD_S = 600.0
"""A clock may be a little ahead of ours; a stamp without a year that is later is of the year before."""


class KernelXid(NamedTuple):
    """An Xid of the kernel's log.

    Attributes:
        pci: normalised bus id of the device.
        event: what it reported.
    """

    pci: str
    event: XidEvent


class SwitchFault(NamedTuple):
    """A fatal SXid: an NVSwitch, and every GPU that it joins, is affected.

    Attributes:
        at: seconds since 1970.
        text: which switch, which SXid, and the driver's words.
    """

    at: float
    text: str


def xids(lines: Iterable[str], now: float, booted: float | None = None) -> Iterator[KernelXid]:
    """The Xids of some lines, and devices that were lost without one as a 79.

    Args:
        lines: of ``journalctl -k -o short-iso-precise``, ``dmesg`` in any of its forms, or a file of rsyslog.
        now: seconds since 1970; the time of a line without one, and the latest that is believed.
        booted: when the machine was, in seconds since 1970, for lines with seconds since then.

    Yields:
        Each Xid, by its device's bus id. Any other line, however odd, is nothing.
    """
    named: tuple[str, int] = ("", 0)
    for number, line in enumerate(lines):
        start = line.find(_DRIVER)
        if start < 0:
            continue
        said = line[start : start + _LONGEST]
        device = _GPU.search(said)
        if device is not None:
            named = (pci_of(device[1]), number)
        line_of_xid = next(xid_lines(said), None) if said.startswith("NVRM: Xid (") else None
        if line_of_xid is not None:
            pci, xid, text = pci_of(line_of_xid.pci), line_of_xid.number, line_of_xid.text
        elif _FALLEN.search(said) and number - named[1] < _SENTENCE_LINES:
            pci, xid, text = named[0], FALLEN_OFF, said.removeprefix(_DRIVER).strip()
        else:
            continue
        if pci:
            yield KernelXid(pci, XidEvent(_when(line, now, booted), xid, "", text[:512]))


def switch_faults(lines: Iterable[str], now: float, booted: float | None = None) -> Iterator[SwitchFault]:
    """The fatal SXids of some lines.

    Args:
        lines: see ``xids``.
        now: see there.
        booted: see there.
    """
    for line in lines:
        match = _SWITCH.search(line[: 2 * _LONGEST])
        if match is not None:
            yield SwitchFault(_when(line, now, booted), f"{match[1]}: SXid {match[2]}: {match[3].strip()[:200]}")


def _when(line: str, now: float, booted: float | None) -> float:
    at = _time(line[:64], now, booted)
    return min(now if at is None else at, now)


def _time(head: str, now: float, booted: float | None) -> float | None:
    stamp = _ISO.match(head)
    if stamp is not None:
        zone = (stamp[3] or "Z").replace("Z", "+00:00")
        try:
            when = datetime.fromisoformat(f"{stamp[1]}{zone}")
        except ValueError:
            return None
        return when.astimezone(UTC).timestamp() + (float(f"0.{stamp[2]}") if stamp[2] else 0.0)
    uptime = _UPTIME.match(head)
    if uptime is not None:
        return booted + float(uptime[1]) if booted is not None else None
    with_year = _DMESG_T.match(head)
    if with_year is not None:
        return _local(with_year[1], with_year[2], with_year[3], int(with_year[4]))
    without = _SYSLOG.match(head)
    return _latest(without[1], without[2], without[3], now) if without is not None else None


def _local(month: str, day: str, clock: str, year: int) -> float | None:
    """A time of this machine's zone, as ``dmesg -T`` and rsyslog write it."""
    try:
        return datetime.strptime(f"{year} {month} {day} {clock}", "%Y %b %d %H:%M:%S").astimezone().timestamp()
    except ValueError:
        return None


def _latest(month: str, day: str, clock: str, now: float) -> float | None:
    """A stamp without a year: the latest such day that is not in the future."""
    year = datetime.fromtimestamp(now, UTC).year
    candidates = [
        _local(month, day, clock, of_year) for of_year in (year + 1, year, year - 1, year - 2, year - 3, year - 4)
    ]
    return next((at for at in candidates if at is not None and at <= now + _AHEAD_S), None)
