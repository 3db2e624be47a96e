"""CPU and memory limits of a pod: by cgroup (v2 or v1) where this process may, else by rlimit."""

from __future__ import annotations

import math
import os
import resource
from dataclasses import dataclass, field
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


@dataclass
class ProcessLimits:
    """The limits of one pod, and how they are enforced.

    Attributes:
        memory_bytes: at most so much memory, or None.
        cpus: at most so many cores (may be fractional), or None.
        groups: cgroup folders made for the pod; empty where rlimits serve instead.
        how: one sentence for the log.
    """

    memory_bytes: int | None
    cpus: float | None
    groups: list[Path] = field(default_factory=list)
    how: str = "no limits asked for"

    def enter(self) -> None:
        """Put the calling process under the limits. Called in the child, between fork and exec."""
        for group in self.groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))
        if self.groups:
            return
        if self.memory_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (self.memory_bytes, self.memory_bytes))
        if self.cpus:
            allowed = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, allowed[: max(1, math.ceil(self.cpus))])

    def oom_killed(self) -> bool:
        """Whether the kernel killed a process of the pod for its memory."""
        for group in self.groups:
            for name in ("memory.events", "memory.oom_control"):
                for line in _lines(group / name):
                    if line.startswith("oom_kill ") and int(line.split()[1]) > 0:
                        return True
        return False

    def remove(self) -> None:
        """Remove the cgroups; the pod's processes must have ended."""
        for group in self.groups:
            try:
                group.rmdir()
            except OSError as error:  # a process that the kernel has not reaped yet: harmless, said in the log
                print(f"limits: could not remove {group}: {error}", flush=True)


def make(name: str, memory_bytes: int | None, cpus: float | None, root: Path = _CGROUP) -> ProcessLimits:
    """Prepare the limits of one pod.

    Args:
        name: of the cgroup, unique on this machine.
        memory_bytes: limit, or None.
        cpus: limit in cores, or None.
        root: where cgroups are mounted.

    Returns:
        Limits by cgroup v2, else by v1, else by rlimit (RLIMIT_DATA for memory; for CPU the number of
        cores that the processes may run on, rounded up).
    """
    limits = ProcessLimits(memory_bytes, cpus)
    if memory_bytes is None and cpus is None:
        return limits
    for attempt, kind in ((_cgroup2, "cgroup v2"), (_cgroup1, "cgroup v1")):
        try:
            limits.groups = attempt(root, name, memory_bytes, cpus)
        except OSError as error:
            reason = f"{kind}: {error.strerror or error}"
            continue
        limits.how = f"enforced by {kind}"
        return limits
    limits.how = f"enforced by rlimit and CPU affinity, since cgroups cannot be used here ({reason})"
    return limits


def _cgroup2(root: Path, name: str, memory_bytes: int | None, cpus: float | None) -> list[Path]:
    controllers = (root / "cgroup.controllers").read_text().split()
    if not {"memory", "cpu"} <= set(controllers):
        raise OSError(f"{root} lacks the memory or cpu controller")
    parent = root / "bulkhead"
    parent.mkdir(exist_ok=True)
    for folder in (root, parent):
        (folder / "cgroup.subtree_control").write_text("+memory +cpu")
    group = parent / name
    group.mkdir()
    if memory_bytes:
        (group / "memory.max").write_text(str(memory_bytes))
        swap = group / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")
    if cpus:
        (group / "cpu.max").write_text(f"{int(cpus * _PERIOD_US)} {_PERIOD_US}")
    return [group]


def _cgroup1(root: Path, name: str, memory_bytes: int | None, cpus: float | None) -> list[Path]:
    groups = []
    if memory_bytes:
        group = root / "memory" / "bulkhead" / name
        _make_below(root / "memory", group)
        (group / "memory.limit_in_bytes").write_text(str(memory_bytes))
        groups.append(group)
    if cpus:
        group = root / "cpu" / "bulkhead" / name
        _make_below(root / "cpu", group)
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(int(cpus * _PERIOD_US)))
        groups.append(group)
    return groups


def _make_below(controller: Path, group: Path) -> None:
    if not (controller / "tasks").exists():
        raise OSError(f"{controller} is no cgroup v1 controller")
    group.mkdir(parents=True)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
