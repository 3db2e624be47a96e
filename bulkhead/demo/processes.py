"""The demo's processes: each in a session of its own, each stopped with everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bulkhead.errors import UnavailableError
from bulkhead.files import read_json, write_json

_STOP_S = 15.0


class Processes:
    """Starts and stops processes, and remembers them in a file, so that a later call can stop them.

    Args:
        folder: for the logs and the record.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = folder / "processes.json"
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a process; its output goes to ``<folder>/<name>.log``."""
        with self.log(name).open("ab") as output:
            process = subprocess.Popen(
                list(argv),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._folder,
            )
        self._running[name] = process
        records = [
            {"name": name, "pid": child.pid, "started": _started(child.pid)} for name, child in self._running.items()
        ]
        write_json(self._record, records)

    def run(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a process that is expected to end by itself.

        Args:
            name: for people, and of its log.

        Returns:
            The process; ``check`` does not watch it once it was taken out by ``finished``.
        """
        self.start(name, argv, env)
        return self._running[name]

    def finished(self, name: str) -> bool | None:
        """Whether a process that was to end has ended well.

        Returns:
            True, or None while it runs.

        Raises:
            UnavailableError: it failed; the end of its log is quoted.
        """
        process = self._running[name]
        if process.poll() is None:
            return None
        del self._running[name]
        if process.returncode != 0:
            raise self._ended(name, process.returncode)
        return True

    def check(self) -> None:
        """Make sure that everything still runs.

        Raises:
            UnavailableError: something has ended; the end of its log is quoted.
        """
        for name, process in self._running.items():
            if process.poll() not in (None, 0):
                raise self._ended(name, process.returncode)

    def stop(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Stop everything.

        Args:
            report: called at every poll with what still has to end.
        """
        _end_sessions({process.pid: name for name, process in self._running.items()}, report)
        for process in self._running.values():
            process.wait()
        self._running.clear()
        self._record.unlink(missing_ok=True)

    def members(self, name: str) -> list[int]:
        """Process ids of a process and of everything that it started, itself first; none once it was killed."""
        process = self._running.get(name)
        if process is None:
            return []
        return [process.pid, *sorted(_session(process.pid) - {process.pid})]

    def kill(self, name: str) -> None:
        """End a process and everything that it started by SIGKILL, without a word."""
        for pid in self.members(name):
            _send(pid, signal.SIGKILL)
        self._running.pop(name).wait()

    def stop_recorded(self) -> int:
        """Stop what an earlier demo left running.

        Returns:
            How many processes that were.
        """
        recorded = read_json(self._record) or []
        alive = [
            process["pid"]
            for process in recorded
            if _started(process["pid"]) == process["started"] and _alive(process["pid"])
        ]
        _end_sessions(dict.fromkeys(alive, ""), lambda _: None)
        self._record.unlink(missing_ok=True)
        return len(alive)

    def log(self, name: str) -> Path:
        """A process' log file."""
        return self._folder / f"{name}.log"

    def _ended(self, name: str, code: int) -> UnavailableError:
        last = self.log(name).read_text(errors="replace").strip().splitlines()[-5:]
        return UnavailableError(f"{name} ended with exit code {code}; see {self.log(name)}:\n" + "\n".join(last))


def _end_sessions(leaders: Mapping[int, str], report: Callable[[str], None]) -> None:
    """SIGTERM to every process of the sessions, then SIGKILL to what is left."""
    members = {leader: _session(leader) for leader in leaders}
    for pid in set().union(*members.values()):
        _send(pid, signal.SIGTERM)
    _await_end(members, lambda left: report(", ".join(leaders[leader] for leader in left)))
    remaining = {leader: {*filter(_alive, _session(leader) | pids)} for leader, pids in members.items()}
    for pid in set().union(*remaining.values()):
        _send(pid, signal.SIGKILL)
    _await_end(remaining, lambda _: None)


def _await_end(sessions: Mapping[int, set[int]], report: Callable[[list[int]], None]) -> None:
    """Wait until every process of the sessions has ended, within a bound."""
    limit = time.monotonic() + _STOP_S
    while left := [leader for leader, pids in sessions.items() if any(map(_alive, pids))]:
        if time.monotonic() > limit:
            return
        report(left)
        time.sleep(0.05)  # between two polls at processes that are not ours to wait for


def _session(leader: int) -> set[int]:
    """Processes of a session: what a component started, also after the component itself has gone."""
    descendants = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[3]) == leader:
                descendants.add(int(entry.name))
    return descendants


def _alive(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] != "Z"


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended meanwhile


def _started(pid: int) -> str | None:
    """A process' start time in clock ticks since boot, so that a reused process id is not mistaken."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third (state) on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
