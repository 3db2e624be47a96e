"""``python -m bulkhead.gpu_tasks.hang_watch``: ends the ranks of this node when one has no progress, and names it.

It is a process of its own, because what hangs may hold Python's lock, be stopped, or wait in a driver: no thread of it
would run. Each rank registers a handler with ``faulthandler``, which is C and needs no lock; a signal has it write the
stacks of all its threads.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bulkhead.gpu_tasks import device_faults, flight_recorder
from bulkhead.gpu_tasks.heartbeat import Beat, Standstill, behind, forget, home, read
from bulkhead.gpu_tasks.stores.find import last_checkpoint
from bulkhead.gpu_tasks.timeouts import settled
from bulkhead.health.sources.nvml import NvmlSource
from bulkhead.pods.outcome import Failure, FailureClass, Outcome

STACKS_SIGNAL = signal.SIGUSR1
"""What has a rank write its stacks."""

_STUCK = ("T", "t", "D")
"""States of a process that cannot run: stopped, traced, or in the kernel, for instance in a driver (proc(5))."""

_STACKS_S = 2.0
_EVIDENCE = 1500


def main(argv: Sequence[str] | None = None) -> None:
    """Watch until the job is through or hangs.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.hang_watch")
    parser.add_argument("--folder", type=Path, required=True, help="of the job's progress")
    parser.add_argument("--limit-s", type=float, required=True, help="so long a phase of a step may last")
    parser.add_argument("--parent", type=int, required=True, help="process of the rank that started this one")
    arguments = parser.parse_args(argv)
    still, devices = Standstill(), device_faults.listen()
    while os.getppid() == arguments.parent:
        beats = read(arguments.folder)
        still.poll(beats, [rank for rank, beat in beats.items() if _is_here(beat)])
        late = still.late(arguments.limit_s)
        if late:
            _end(arguments.folder, late, arguments.limit_s, devices)
            return
        time.sleep(min(1.0, arguments.limit_s / 10))  # its ranks are other processes: their files are looked at


def start(folder: Path, rank: int, limit_s: float, *, first_of_node: bool) -> subprocess.Popen[bytes] | None:
    """Have this rank watched.

    Args:
        folder: of the job's progress.
        limit_s: so long a phase of a step may last, in seconds.
        first_of_node: whether this rank starts the node's watch.

    Returns:
        The watch, to be ended with the job; None where another rank has started it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    forget(folder, rank)
    # Kept open for as long as the process lives: the handler writes to its number.
    faulthandler.register(STACKS_SIGNAL, file=_stacks(folder, rank).open("w"), all_threads=True)
    if not first_of_node:
        return None
    command = [sys.executable, "-m", "bulkhead.gpu_tasks.hang_watch", "--folder", str(folder)]
    return subprocess.Popen([*command, "--limit-s", str(limit_s), "--parent", str(os.getpid())])


def named(late: list[Beat], limit_s: float, stuck: list[Beat]) -> tuple[Beat, str]:
    """Who holds up a job, and how that is told.

    Args:
        limit_s: for so long, in seconds.
        stuck: ranks whose process cannot run: it is stopped, or waits in the kernel.

    Returns:
        The rank that is behind the others; of several that are as far, one that cannot run, else the first, and the
        text says that it is a guess.
    """
    last = behind(late)
    culprit = next((beat for beat in last if beat in stuck), last[0])
    others = [beat for beat in late if beat != culprit]
    text = f"{culprit} has made no progress for {limit_s:g} s"
    if culprit not in stuck and len(last) > 1:
        text += f"; as far as rank {', '.join(str(beat.rank) for beat in last[1:])}: which of them holds up is a guess"
    elif others:
        text += f"; waiting: {', '.join(str(beat) for beat in others)}"
    return culprit, text


def _end(folder: Path, late: list[Beat], limit_s: float, devices: NvmlSource | None) -> None:
    """Have the stacks written, and what NCCL did, name who is behind, and end the ranks that are of this node."""
    here = [beat for beat in read(folder).values() if _is_here(beat)]
    stuck = [beat for beat in here if _state(beat.pid) in _STUCK]
    culprit, message = named(late, limit_s, stuck)
    for beat in here:
        os.kill(beat.pid, STACKS_SIGNAL)
    stacks = _written(folder, here, stuck)
    for rank, text in sorted(stacks.items()):
        print(f"{message}\nstacks of rank {rank}:\n{text}", file=sys.stderr, flush=True)
    launcher = _parent(os.getppid())
    recorded = flight_recorder.dump(folder, launcher, [beat.rank for beat in here]) if launcher is not None else {}
    for rank, path in sorted(recorded.items()):
        print(f"what NCCL of rank {rank} did: {path} (torchfrtrace reads it)", file=sys.stderr, flush=True)
    evidence = stacks.get(culprit.rank, "")[:_EVIDENCE]
    failure = Failure(
        failure_class=FailureClass.HUNG,
        message=message,
        rank=culprit.rank,
        evidence=evidence,
        checkpoint=last_checkpoint(),
    )
    Outcome(failure=device_faults.named(failure, devices, None)).write_first()
    for beat in here:
        if _is_here(beat):
            os.kill(beat.pid, signal.SIGKILL)


def _is_here(beat: Beat) -> bool:
    """Whether a rank's process is of this job and pod: it has the same parent as the rank that started this one.

    A process number says so only where it is of this pod's: others have the same numbers for theirs.
    """
    return beat.home == home() and _parent(beat.pid) in {_parent(os.getppid())} - {None}


def _parent(pid: int) -> int | None:
    words = _status(pid)
    return int(words[1]) if words else None


def _state(pid: int) -> str | None:
    words = _status(pid)
    return words[0] if words else None


def _status(pid: int) -> list[str]:
    """State, parent and so on, as proc(5) has them; nothing of a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return []
    return status.rpartition(")")[2].split()


def _written(folder: Path, beats: Sequence[Beat], stuck: Sequence[Beat]) -> Mapping[int, str]:
    """The stacks, once nothing is added to them any more; those of ranks that cannot run are not waited for."""

    def stacks() -> dict[int, str]:
        stacks = {beat.rank: _stacks(folder, beat.rank).read_text(encoding="utf-8") for beat in beats}
        return {rank: text for rank, text in stacks.items() if text}

    return settled(stacks, len(beats) - len(stuck), _STACKS_S)


def _stacks(folder: Path, rank: int) -> Path:
    return folder / f"stacks-{rank}.txt"


if __name__ == "__main__":
    main()
