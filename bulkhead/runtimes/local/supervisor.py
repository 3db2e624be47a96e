"""One supervisor process holds one pod, outlives its launcher, and writes down how the pod ended.

``python -m bulkhead.runtimes.local.supervisor ROOT POD_ID SIMULATED_GPUS`` takes the pod's lock, detaches, waits
for the GPUs asked for, starts the container, and from then on only reacts: to output, to the container's
end, to a request to cancel, to the deadline, to the readiness probe. It imports the standard library and
this package alone, so that a pod costs about 15 MB.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bulkhead.files import read_json, remove_tree, write_json
from bulkhead.runtimes.local import container, gpus, limits
from bulkhead.runtimes.local.layout import Layout, PodFiles, now
from bulkhead.runtimes.local.logs import RotatingLog
from bulkhead.runtimes.local.probe import ReadinessProbe
from bulkhead.runtimes.local.quantities import parse

_MESSAGE_BYTES = 4096
_GPU_POLL_S = 0.5
_DRAIN_S = 2.0
_RETRY_S = 1.0
_LONG = 60  # of the 107 characters that the path of a Unix socket may have, multiprocessing's own names take 40


class Supervisor:
    """Runs one pod to its end.

    Args:
        simulated_gpus: Simulated GPUs that were asked for by name.
    """

    def __init__(self, files: PodFiles, simulated_gpus: int) -> None:
        self._files, self._simulated_gpus = files, simulated_gpus
        self._pod: dict[str, Any] = json.loads(files.spec.read_text(encoding="utf-8"))
        spec = self._pod["spec"]
        self._spec = spec["containers"][0]
        self._deadline_s: float | None = spec.get("activeDeadlineSeconds")
        grace = spec.get("terminationGracePeriodSeconds")
        self._grace_s = 30.0 if grace is None else float(grace)
        self._log = RotatingLog(files.log)
        self._probe = ReadinessProbe(self._spec.get("readinessProbe"))
        self._status: dict[str, Any] = read_json(files.status) or {"phase": "Pending"}
        self._selector = selectors.DefaultSelector()
        self._unsaved = False
        self._kill_at: float | None = None
        self._end_reason = ""
        self._end_message = ""

    def run(self) -> None:
        """Run the pod to its end and write the final status. The caller holds the pod's lock."""
        self._listen_for_signals()
        container.become_subreaper()
        self._began = time.monotonic()
        if self._files.cancel.exists():  # it was to end before it had begun
            self._cancel()
        resources = (self._spec.get("resources") or {}).get("limits") or {}
        count = int(resources.get("nvidia.com/gpu", 0))
        while not self._end_reason:
            with gpus.try_hold(self._files.layout, count, self._simulated_gpus) as held:
                if held is not None:
                    self._run_container(held, resources)
                    return
            self._write_waiting("Unschedulable", f"waiting for {count} GPU(s): all are held by other pods")
            self._wait(_GPU_POLL_S)
        self._write_end(None)

    def _run_container(self, held: list[str], resources: dict[str, str]) -> None:
        memory, cpu = resources.get("memory"), resources.get("cpu")
        bound = limits.make(
            self._files.pod_id, int(parse(memory)) if memory else None, float(parse(cpu)) if cpu else None
        )
        self._say(f"limits: memory {memory}, cpu {cpu}: {bound.how}")
        self._say(f"devices: {', '.join(held) or 'none'}; the image {self._spec['image']!r} is recorded, not used")
        temporary = self._files.temporary
        try:
            temporary.mkdir(mode=0o700, exist_ok=True)
            process = container.start(self._pod, self._files, bound, _short(temporary), gpus.environment(held))
        except (container.StartError, OSError) as error:  # no room for temporary files ends the pod, not its supervisor
            self._end_reason, self._end_message = "StartError", str(error)
            self._remove_temporary()
            self._write_end(None)
            bound.remove()
            return
        self._group = process.pid
        self._started = now()
        self._write_running()
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, "output")
        code = self._follow(process)
        self._sweep(process)
        self._remove_temporary()
        if not self._end_reason and bound.oom_killed():
            self._end_reason, self._end_message = "OOMKilled", f"over its memory limit of {memory}"
        self._write_end(code)
        bound.remove()

    def _remove_temporary(self) -> None:
        if (why := remove_tree(self._files.temporary)) is not None:
            self._say(f"temporary files stay in {self._files.temporary} until the pod is deleted: {why}")

    def _follow(self, process: subprocess.Popen[bytes]) -> int:
        while (code := process.poll()) is None:
            self._wait(self._until_next())
            self._check_time()
            if self._probe.poll() or self._unsaved:
                self._write_running()
        return code

    def _until_next(self) -> float | None:
        now_s = time.monotonic()
        times = [self._kill_at, self._probe.next_at()]
        if self._deadline_s is not None and not self._end_reason:
            times.append(self._began + self._deadline_s)
        if self._unsaved:
            times.append(now_s + _RETRY_S)
        due = [at for at in times if at is not None]
        return max(0.0, min(due) - now_s) if due else None

    def _check_time(self) -> None:
        now_s = time.monotonic()
        if self._deadline_s is not None and not self._end_reason and now_s >= self._began + self._deadline_s:
            self._stop("DeadlineExceeded", f"still running after {self._deadline_s:g} s", self._grace_s)
        if self._kill_at is not None and now_s >= self._kill_at:
            self._signal_group(signal.SIGKILL)
            self._kill_at = None

    def _stop(self, reason: str, message: str, grace_s: float) -> None:
        """Ask the container to end. Asked again, the first reason stands and the kill comes no later."""
        kill_at = time.monotonic() + grace_s
        if self._end_reason:
            self._kill_at = self._kill_at and min(self._kill_at, kill_at)
            return
        self._end_reason, self._end_message = reason, message
        if hasattr(self, "_group"):
            self._signal_group(signal.SIGTERM)
            self._kill_at = kill_at

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._group, number)
        except ProcessLookupError:
            return  # it has ended by itself

    def _sweep(self, process: subprocess.Popen[bytes]) -> None:
        """End what the container left behind, also what left its process group, and read its last output."""
        self._signal_group(signal.SIGKILL)
        for pid in container.children():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        limit = time.monotonic() + _DRAIN_S
        while self._read_output(process) and time.monotonic() < limit:
            continue

    def _read_output(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.stdout is not None
        try:
            data = os.read(process.stdout.fileno(), 65536)
        except BlockingIOError:
            return False
        if data:
            self._log.write(data)
        return bool(data)

    def _listen_for_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(reader, selectors.EVENT_READ, "signal")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def _wait(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            if key.data == "output":
                data = os.read(key.fd, 65536)
                if data:
                    self._log.write(data)
                else:
                    self._selector.unregister(key.fileobj)
            elif signal.SIGTERM in os.read(key.fd, 4096):
                self._cancel()

    def _cancel(self) -> None:
        request = read_json(self._files.cancel) or {}
        self._stop(
            "Cancelled",
            request.get("reason") or "ended by SIGTERM",
            float(request.get("grace_s", self._grace_s)),
        )

    def _say(self, text: str) -> None:
        self._log.write(f"[bulkhead] {text}\n".encode())

    def _write_waiting(self, reason: str, message: str) -> None:
        status = {"phase": "Pending", "reason": reason, "message": message}
        if status != {key: self._status.get(key) for key in status}:
            self._write({**self._status, **status})

    def _write_running(self) -> None:
        state = {"running": {"startedAt": self._started}}
        self._write({"phase": "Running", "containerStatuses": [self._container(state, self._probe.ready)]})

    def _write_end(self, code: int | None) -> None:
        succeeded = code == 0 and not self._end_reason
        exit_code = code if code is None or code >= 0 else 128 - code
        reason = self._end_reason or ("Completed" if succeeded else "Error")
        terminated = {
            "exitCode": 128 if exit_code is None else exit_code,
            "reason": reason,
            "message": self._termination_message(succeeded),
            "startedAt": getattr(self, "_started", None),
            "finishedAt": now(),
        }
        status = {"phase": "Succeeded" if succeeded else "Failed"}
        if self._end_reason:
            status |= {"reason": self._end_reason, "message": self._end_message}
        if self._log.lost_bytes:
            self._say(f"log: {self._log.lost_bytes} bytes lost: {self._log.last_error}")
            status["logLost"] = f"{self._log.lost_bytes} bytes: {self._log.last_error}"
        self._write({**status, "containerStatuses": [self._container({"terminated": terminated}, False)]})
        # How the pod ended must not be lost: the supervisor stays until it is written, or it cannot be asked for.
        while self._unsaved and self._files.folder.exists():
            self._wait(_RETRY_S)
            self._write(self._status)

    def _termination_message(self, succeeded: bool) -> str:
        try:
            with self._files.termination_log.open("rb") as stream:
                message = stream.read(_MESSAGE_BYTES).decode("utf-8", "replace")
        except OSError:
            message = ""
        if not message and not succeeded and self._spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = self._log.tail(2048)
        return message

    def _container(self, state: dict[str, Any], ready: bool) -> dict[str, Any]:
        return {
            "name": self._spec["name"],
            "image": self._spec["image"],
            "ready": ready,
            "restartCount": 0,
            "state": state,
        }

    def _write(self, status: dict[str, Any]) -> None:
        """Write the status down; where that fails (a full disk), ``_follow`` or ``_write_end`` try again."""
        self._status = status
        try:
            write_json(self._files.status, status)
        except OSError as error:
            if not self._unsaved:
                self._say(f"status: cannot be written: {error}; trying again every {_RETRY_S:g} s")
            self._unsaved = True
        else:
            self._unsaved = False


def _short(temporary: Path) -> str:
    """A path of the container's temporary folder that leaves room for the names of sockets in it.

    The supervisor works in the pod's folder, for as long as the container lives.
    """
    return str(temporary) if len(str(temporary)) <= _LONG else f"/proc/{os.getpid()}/cwd/{temporary.name}"


def main(root: str, pod_id: str, simulated_gpus: str) -> None:
    """Take the pod's lock, detach, run the pod.

    The lock is taken before the fork and shared over it: when the launcher sees this process end, the pod is
    held for sure.

    Args:
        simulated_gpus: simulated GPUs, a decimal number.
    """
    files = PodFiles(Layout(Path(root)), pod_id)
    descriptor = os.open(files.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another supervisor holds this pod already
    os.setsid()  # before the fork: from here on no signal to the launcher's process group reaches this one
    # A process that finds the pod held may end it at once: that signal waits until there is a handler for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if child := os.fork():
        # Written before the launcher sees this process end: a process that finds the lock held then finds its holder
        # too.
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(child).encode())
        os._exit(0)
    status = read_json(files.status) or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return
    Supervisor(files, int(simulated_gpus)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
