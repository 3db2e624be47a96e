"""Progress of each rank, in a file of its own that everybody may look at while it is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PHASES = ("start", "data", "forward", "backward", "update", "checkpoint", "end")
"""Parts of a step, in their order."""

_WIDTH = 96
_PREFIX = "rank-"


@dataclass(frozen=True)
class Beat:
    """A rank's last sign of progress.

    Attributes:
        rank: whose.
        pid: of its process.
        step: that it works on.
        phase: of the step, one of ``PHASES``.
        at: when it began that, in seconds since 1970 by its own machine's clock: another than the last sign's, and
            nothing to compare with any other clock.
        home: where its process number means its process, see ``home``; empty where that was not said.
    """

    rank: int
    pid: int
    step: int
    phase: str
    at: float
    home: str = ""

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
        self._clock, self._home = clock, home()
        # Never cut: a reader would find it empty for a moment.
        self._file = os.open(folder / f"{_PREFIX}{rank}", os.O_WRONLY | os.O_CREAT, 0o644)
        self.beat(0, "start")

    def beat(self, step: int, phase: str) -> None:
        """Say what is begun now.

        Args:
            step: that is worked on.
            phase: one of ``PHASES``.
        """
        text = f"{os.getpid()} {step} {phase} {self._clock():.3f} {self._home}"
        os.pwrite(self._file, text.ljust(_WIDTH - 1).encode() + b"\n", 0)

    def close(self) -> None:
        """The rank is through; who watches does not wait for it any more."""
        self.beat(0, "end")
        os.close(self._file)


def forget(folder: Path, rank: int) -> None:
    """Remove a rank's last sign, if another process has left it: ranks are restarted within a moment, and what the
    one before said would be taken for this one's, who is slow to begin.

    Args:
        folder: of the job's progress.
    """
    left = read(folder).get(rank)
    if left is not None and (left.pid, left.home) != (os.getpid(), home()):
        (folder / f"{_PREFIX}{rank}").unlink(missing_ok=True)


def read(folder: Path) -> dict[int, Beat]:
    """The last sign of each rank.

    Args:
        folder: of the job's progress.

    Returns:
        By rank; a rank that has not begun is not there.
    """
    beats = {}
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            words = path.read_text(encoding="utf-8").split()
        except FileNotFoundError:
            continue  # a rank that is restarted has taken it back since the folder was listed
        rank = path.name.removeprefix(_PREFIX)
        beat = _beat(rank, words)
        if beat is not None:
            beats[beat.rank] = beat
    return beats


def _beat(rank: str, words: list[str]) -> Beat | None:
    """The sign that a file holds; None where it is none."""
    if not rank.isdigit() or len(words) not in (4, 5) or words[2] not in PHASES:
        return None
    try:
        return Beat(int(rank), int(words[0]), int(words[1]), words[2], float(words[3]), *words[4:])
    except ValueError:
        return None


def home() -> str:
    """Where a process number of this process means what it says: the machine since its boot, and the PID namespace.

    Pods have one each, and pods of one image often the same numbers in it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:  # no Linux: one machine is all there is
        return "here"


class Standstill:
    """How long each rank's sign has stood still, on the clock of the observer, as leases are judged.

    Machines' clocks differ, and are set. So a sign is not compared with the time, but with itself at the poll before.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[int, tuple[Beat, float]] = {}
        self._alive: set[int] = set()
        self._first = True

    def poll(self, beats: Mapping[int, Beat], own: Collection[int]) -> None:
        """Look at the signs.

        Args:
            beats: of all ranks that have given one, by rank.
            own: ranks whose processes are known to live.
        """
        now = self._clock()
        for rank, beat in beats.items():
            seen = self._seen.get(rank)
            # What was there before the first poll may be an earlier try's, in the same folder: it counts once it moves.
            if rank in own or not (self._first or (seen is not None and seen[0] == beat)):
                self._alive.add(rank)
            if seen is None or seen[0] != beat:
                self._seen[rank] = (beat, now)
        for rank in set(self._seen) - set(beats):
            del self._seen[rank]  # rolled back by one that restarts
        self._first = False

    def late(self, limit_s: float) -> list[Beat]:
        """Ranks without progress for longer than they may be.

        Args:
            limit_s: so long a phase may last, in seconds.
        """
        now = self._clock()
        return [
            beat
            for rank, (beat, since) in sorted(self._seen.items())
            if rank in self._alive and beat.phase != "end" and now - since > limit_s
        ]


def behind(beats: Iterable[Beat]) -> list[Beat]:
    """Who holds the others up: of ranks that wait for each other, those that have come least far.

    Args:
        beats: of ranks without progress.

    Returns:
        Those in the earliest phase of the earliest step; all of them where none has come further.
    """
    every = list(beats)
    least = min((beat.place for beat in every), default=None)
    return sorted((beat for beat in every if beat.place == least), key=lambda beat: beat.rank)
