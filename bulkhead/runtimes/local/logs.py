"""A container's log file: rotated by size, and never the reason that a container dies."""

from __future__ import annotations

from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024
"""Size at which a log is rotated, as the kubelet does by default (containerLogMaxSize)."""


class RotatingLog:
    """Appends bytes to ``path``; the previous file is kept as ``<path>.1``.

    A write that fails (a full disk) loses the log text and nothing else: it is counted, and the container
    runs on.

    Args:
        max_bytes: size at which it is rotated.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path, self._max = path, max_bytes
        self.lost_bytes = 0
        self.last_error = ""

    def write(self, data: bytes) -> None:
        """Append, rotating first if the file is full.

        Args:
            data: what the container wrote.
        """
        try:
            if self._path.exists() and self._path.stat().st_size + len(data) > self._max:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            with self._path.open("ab") as stream:
                stream.write(data)
        except OSError as error:
            self.lost_bytes += len(data)
            self.last_error = error.strerror or str(error)

    def tail(self, size: int) -> str:
        """The last bytes of the log as text.

        Args:
            size: at most so many bytes.
        """
        try:
            with self._path.open("rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - size))
                return stream.read(size).decode("utf-8", "replace")
        except OSError:
            return ""
