"""What ``benchmarks.goodput`` does to a training: the same to each, at the same times after its first step."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bulkhead.gpu_tasks.heartbeat import Beat, read
from bulkhead.gpu_tasks.stores.find import last_checkpoint

_AWAY_S = 30.0
"""So long MLflow is away."""


class Faults:
    """A schedule of faults.

    Args:
        ideal_s: length of the training without any, in seconds; the times are parts of it.
        patience_s: after so long a hang that nobody has noticed is ended, in seconds.
        mlflow: process ids of the MLflow server.

    Attributes:
        detected_s: from the SIGKILL of a rank until its job did something about it; None before that.
        hang_s: the same of the hang.
    """

    def __init__(self, ideal_s: float, patience_s: float, mlflow: Sequence[int]) -> None:
        self._patience_s, self._mlflow = patience_s, mlflow
        self._began: float | None = None
        self._watched: tuple[str, float, Beat, Beat] | None = None
        self.detected_s: float | None = None
        self.hang_s: float | None = None
        away = 0.35 * ideal_s
        self._due: list[tuple[float, str, Callable[[Path, Path], None]]] = [
            (0.2 * ideal_s, "a rank is killed", self._kill),
            (away, "MLflow goes away", lambda *_: self._signal_mlflow(signal.SIGSTOP)),
            (away + _AWAY_S, "MLflow comes back", lambda *_: self._signal_mlflow(signal.SIGCONT)),
            (0.6 * ideal_s, "a rank hangs, and the newest checkpoint is damaged", self._hang),
            (0.8 * ideal_s, "the job is told to end", self._tell_to_end),
        ]

    @property
    def left(self) -> list[str]:
        """What has not been done yet."""
        return [what for _, what, _ in self._due]

    def poll(self, progress: Path, checkpoints: Path, say: Callable[[str], None]) -> None:
        """Do what is due, once the ranks work.

        Args:
            progress: folder of the ranks' signs.
            checkpoints: folder of the checkpoints.
        """
        now = time.monotonic()
        self._watch(now, progress)
        if len(working(progress)) < 2:
            return
        self._began = self._began or now
        if self._due and now - self._began >= self._due[0][0] and self._watched is None:
            _, what, do = self._due.pop(0)
            say(f"{now - self._began:.1f} s: {what}")
            do(progress, checkpoints)

    def _watch(self, now: float, progress: Path) -> None:
        """When something is done about a rank that is lost: the one beside it is ended, or both are restarted."""
        if self._watched is None:
            return
        what, since, lost, beside = self._watched
        if _works(beside):
            if what == "hang_s" and now - since > self._patience_s and _works(lost):
                os.kill(lost.pid, signal.SIGKILL)
            return
        setattr(self, what, now - since)
        self._watched = None

    def _kill(self, progress: Path, checkpoints: Path) -> None:
        beside, lost = working(progress)
        self._watched = ("detected_s", time.monotonic(), lost, beside)
        os.kill(lost.pid, signal.SIGKILL)

    def _hang(self, progress: Path, checkpoints: Path) -> None:
        beside, lost = working(progress)
        self._watched = ("hang_s", time.monotonic(), lost, beside)
        os.kill(lost.pid, signal.SIGSTOP)
        newest = last_checkpoint(str(checkpoints))
        for file in Path(newest).glob("*.safetensors") if newest else ():
            os.truncate(file, file.stat().st_size - 1)

    def _tell_to_end(self, progress: Path, checkpoints: Path) -> None:
        """As the kubelet does: the container's first process, which started the ranks."""
        first, _ = working(progress)
        words = Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()
        os.kill(int(words[1]), signal.SIGTERM)

    def _signal_mlflow(self, number: signal.Signals) -> None:
        for pid in self._mlflow:
            os.kill(pid, number)


def working(progress: Path) -> list[Beat]:
    """The ranks that work on a step, by their numbers.

    Args:
        progress: folder of their signs.
    """
    return [beat for _, beat in sorted(read(progress).items()) if beat.step > 0 and _works(beat)]


def _works(beat: Beat) -> bool:
    try:
        state = Path(f"/proc/{beat.pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
