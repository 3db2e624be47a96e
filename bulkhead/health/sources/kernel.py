"""Xids of a node's kernel log, from the file that it is written to."""

from __future__ import annotations

import time
from pathlib import Path

from bulkhead.health.kernel_log import SwitchFault, switch_faults, xids
from bulkhead.health.observation import NodeState, Snapshot, place

_MOST_BYTES = 16 * 1024 * 1024
_UPTIME = Path("/proc/uptime")
_REMEMBERED_S = 3600.0
"""A fault of a switch speaks against its node for so long."""


class KernelLogSource:
    """One node's kernel log. Each line is told of once; the first poll begins at the file's end.

    Args:
        path: of the file, for instance ``/var/log/kern.log``.
        from_start: whether the first poll reads what is there already.
    """

    def __init__(self, path: Path, node: str, *, from_start: bool = False) -> None:
        self.name = f"kernel log {path}"
        self._path, self._node = path, node
        self._file: tuple[int, int] | None = None
        self._offset = 0
        self._from_start = from_start
        self._switches: list[SwitchFault] = []

    def poll(self, at: float) -> Snapshot:
        """See ``Source.poll``. A file that was replaced or cut is read from its beginning.

        Args:
            at: the time, in seconds since 1970.
        """
        snapshot = Snapshot(self.name, at)
        try:
            text = self._new()
        except OSError as error:
            snapshot.failed = f"{self._path} is not readable: {error}"
            return snapshot
        lines, booted = text.splitlines(), _booted()
        for pci, event in xids(lines, at, booted):
            snapshot.xids.setdefault(place(self._node, pci), []).append(event)
        switches = [*self._switches, *switch_faults(lines, at, booted)]
        self._switches = [switched for switched in switches if at - switched.at < _REMEMBERED_S]
        if self._switches:
            texts = tuple(dict.fromkeys(switch.text for switch in self._switches))
            snapshot.nodes = {self._node: NodeState(self._node, faults=texts)}
        return snapshot

    def _new(self) -> str:
        with self._path.open("rb") as log:
            status = self._path.stat()
            same = (status.st_dev, status.st_ino)
            if self._file is None and not self._from_start:
                self._offset = status.st_size
            elif same != self._file or status.st_size < self._offset:
                self._offset = 0
            self._file = same
            log.seek(max(self._offset, status.st_size - _MOST_BYTES))
            read = log.read(_MOST_BYTES)
            whole = read.rfind(b"\n") + 1  # a line that is being written is read when it is whole
            self._offset = log.tell() - len(read) + whole
        return read[:whole].decode(errors="replace")


def _booted() -> float | None:
    try:
        return time.time() - float(_UPTIME.read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux: lines that count from the boot have the time of the poll
        return None
