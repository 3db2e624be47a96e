"""Progress of each rank, in a file of its own that everybody may look at while it is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PHASES = ("start", "data", "forward", "backward", "update", "checkpoint", "end")
"""Parts of a step, in their order."""

_WIDTH = 64
_PREFIX = "rank-"


@dataclass(frozen=True)
class Beat:
    """A rank's last sign of progress.

    Attributes:
        rank: whose.
        pid: of its process.
        step: that it works on.
        phase: of the step, one of ``PHASES``.
        at: when it began that, in seconds since 1970.
    """

    rank: int
    pid: int
    step: int
    phase: str
    at: float

    @property
    def place(self) -> tuple[int, int]:
        """How far it has come; compares as a tuple."""
        return self.step, PHASES.index(self.phase)

    def __str__(self) -> str:
        """For people."""
        return f"rank {self.rank} (process {self.pid}) in {self.phase} of step {self.step}"


class Heartbeat:
    """Writes one rank's progress: one system call a sign, so that it costs a step next to nothing.

    Args:
        folder: of the job's progress; made where it is missing.
        rank: of this process.
        clock: gives the time in seconds since 1970.
    """

    def __init__(self, folder: Path, rank: int, clock: Callable[[], float] = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        # Never cut: a reader would find it empty for a moment.
        self._file = os.open(folder / f"{_PREFIX}{rank}", os.O_WRONLY | os.O_CREAT, 0o644)
        self.beat(0, "start")

    def beat(self, step: int, phase: str) -> None:
        """Say what is begun now.

        Args:
            step: that is worked on.
            phase: one of ``PHASES``.
        """
        told = f"{os.getpid()} {step} {phase} {self._clock():.3f}"
        os.pwrite(self._file, told.ljust(_WIDTH - 1).encode() + b"\n", 0)

    def close(self) -> None:
        """The rank is through; who watches does not wait for it any more."""
        self.beat(0, "end")
        os.close(self._file)


def forget(folder: Path, rank: int) -> None:
    """Take back a rank's last sign, if another process has left it: ranks are begun anew within a moment, and what the
    one before said would be taken for this one's, who is slow to begin.

    Args:
        folder: of the job's progress.
        rank: of this process.
    """
    left = read(folder).get(rank)
    if left is not None and left.pid != os.getpid():
        (folder / f"{_PREFIX}{rank}").unlink(missing_ok=True)


def read(folder: Path) -> dict[int, Beat]:
    """The last sign of each rank.

    Args:
        folder: of the job's progress.

    Returns:
        By rank; a rank that has not begun is not there.
    """
    found = {}
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            words = path.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            continue  # a rank that is begun anew has taken it back since the folder was listed
        rank = path.name.removeprefix(_PREFIX)
        if rank.isdigit() and len(words) == 4 and words[2] in PHASES:
            found[int(rank)] = Beat(int(rank), int(words[0]), int(words[1]), words[2], float(words[3]))
    return found


def stale(beats: Iterable[Beat], now: float, limit_s: float) -> list[Beat]:
    """Ranks without progress for longer than they may be.

    Args:
        beats: of all ranks.
        now: in seconds since 1970.
        limit_s: so long a phase may last, in seconds.
    """
    return [beat for beat in beats if beat.phase != "end" and now - beat.at > limit_s]


def behind(beats: Iterable[Beat]) -> list[Beat]:
    """Who holds the others up: of ranks that wait for each other, those that have come least far.

    Args:
        beats: of ranks without progress.

    Returns:
        Those in the earliest phase of the earliest step; all of them where nobody has come further.
    """
    every = list(beats)
    least = min((beat.place for beat in every), default=None)
    return sorted((beat for beat in every if beat.place == least), key=lambda beat: beat.rank)
