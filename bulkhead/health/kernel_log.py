"""Xids from the kernel's log, as NVIDIA's driver writes them.

Source: NVIDIA, "Xid Errors": ``NVRM: Xid (PCI:0000:03:00): 14, pid=…, name=…, Channel 00000001``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from bulkhead.health.observation import XidEvent, pci_of

_LONGEST = 4096
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]{5,20})\): (\d{1,5}), ?(.*)")
_STAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?\s")
_UPTIME = re.compile(r"^(?:<\d+>)?\[\s*(\d{1,12}\.\d{1,9})\]")


class KernelXid(NamedTuple):
    """An Xid of the kernel's log.

    Attributes:
        pci: normalised bus id of the device.
        event: what it reported.
    """

    pci: str
    event: XidEvent


def xids(lines: Iterable[str], now: float, booted: float | None = None) -> Iterator[KernelXid]:
    """The Xids of some lines.

    Args:
        lines: of ``journalctl -k -o short-iso-precise``, ``dmesg --time-format iso``, or plain ``dmesg``.
        now: seconds since 1970; the time of a line without one, and the latest that is believed.
        booted: when the machine was, in seconds since 1970, for lines with seconds since then.

    Yields:
        Each Xid, by its device's bus id. Any other line, however odd, is nothing.
    """
    for line in lines:
        start = line.find("NVRM: Xid")
        match = _XID.match(line[start : start + _LONGEST]) if start >= 0 else None
        if match is None:
            continue
        pci = pci_of(match[1])
        if pci:
            at = min(_time(line[:64], booted) or now, now)
            yield KernelXid(pci, XidEvent(at, int(match[2]), "", match[3].strip()[:512]))


def _time(head: str, booted: float | None) -> float | None:
    stamp = _STAMP.match(head)
    if stamp is not None:
        zone = (stamp[3] or "Z").replace("Z", "+00:00")
        try:
            when = datetime.fromisoformat(f"{stamp[1]}{zone}")
        except ValueError:
            return None
        return when.astimezone(UTC).timestamp() + (float(f"0.{stamp[2]}") if stamp[2] else 0.0)
    uptime = _UPTIME.match(head)
    return booted + float(uptime[1]) if uptime is not None and booted is not None else None
