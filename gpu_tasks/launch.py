"""``python -m bulkhead.gpu_tasks.launch -m MODULE ARGS…``: the ranks of one node, restarted in place when one is lost.

``torchrun`` starts each rank as a new Python, whose imports take longer than all else of a restart. Here they are done
once, before the ranks are forked: a rank that is lost costs what was trained since the checkpoint and little more. And
what failed decides: a rank that was killed or hung is restarted, a program that raised is not.

The ranks are told what ``torchrun`` tells them, so that programs run under either.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import runpy
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bulkhead.gpu_tasks.entry import at_least, run
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.stores.find import last_checkpoint
from bulkhead.pods import reasons
from bulkhead.pods.outcome import PATH_VARIABLE, Failure, FailureClass, Outcome

log = logging.getLogger(__name__)

_GRACE_S = 25.0
"""So long ranks that are told to end may save; a pod's own grace period is 30 s unless its author says otherwise."""

_BROKEN_S = 5.0
"""So long the others may take to end by themselves once a rank is lost."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, and run the ranks to their end.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.launch")
    parser.add_argument("--processes", type=int, default=1, help="ranks")
    parser.add_argument("--restarts", type=int, default=3, help="so often the ranks are restarted at most")
    parser.add_argument("--preload", action="append", default=[], help="module to import once, for all ranks")
    parser.add_argument("-m", "--module", action="store_true", help="the program is a module, as with torchrun")
    parser.add_argument("program", help="of a rank, run as its __main__: a file, or the name of a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # As torchrun has it, before anything reads it: ranks that each use all cores are slower than with a part.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // max(1, arguments.processes))))
    run(lambda: launch(arguments))


def launch(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """Run the ranks to their end; exits with 1 if they fail, and leaves why as the outcome.

    Args:
        told: the arguments of the command line.

    Returns:
        The result that rank 0 left.

    Raises:
        ConfigError: a number is too small, or a module is not there.
    """
    at_least(arguments, "", processes=1, restarts=0)
    gc.disable()  # what is imported here stays: to look through it for what does not takes a quarter of the time
    for module in (*arguments.preload, *([arguments.program] if arguments.module else [])):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as missing:
            raise ConfigError(f"module = {module!r}: {missing}; name one that this image can import") from missing
    # Nor is it looked through by the ranks, at each full collection, nor copied to them by that (gc.freeze).
    gc.freeze()
    program = [arguments.program, *arguments.arguments]
    return Launcher(lambda: _become(program, module=arguments.module), arguments.processes, arguments.restarts).run()


class Launcher:
    """Runs the ranks of a node.

    Args:
        program: what a rank does; it ends the process itself, or returns.
        processes: ranks.
        restarts: so often they are restarted at most.
    """

    def __init__(self, program: Callable[[], None], processes: int, restarts: int) -> None:
        self._program, self._count, self._restarts = program, processes, restarts
        self._message = Path(os.environ.get(PATH_VARIABLE, "/dev/termination-log"))
        self._terminating = False
        self._running: dict[int, int] = {}  # pidfd by rank
        self._hung = 0

    def run(self) -> Mapping[str, Any]:
        """Run them to the end; exits with 1 if they fail, and leaves why as the outcome.

        Returns:
            The result that rank 0 left.
        """
        signal.signal(signal.SIGTERM, self._end)
        attempt = 0
        while (failure := self._attempt(attempt)) is not None:
            if self._terminating or attempt == self._restarts or not self._worth_it(failure):
                sys.exit(1)
            attempt += 1
            log.warning("restarted (%d of %d): %s", attempt, self._restarts, failure.message)
            self._message.write_text("", encoding="utf-8")  # what the attempt said is in the log now
        said = self._said()
        return said.result if said is not None else {}

    def _said(self) -> Outcome | None:
        return Outcome.decode(self._message.read_text(encoding="utf-8") if self._message.exists() else None)

    def _attempt(self, attempt: int) -> Failure | None:
        """Run all ranks once; why they failed."""
        shared = self._environment(attempt)
        pids = {rank: self._fork(rank, shared) for rank in range(self._count)}
        self._running = {rank: os.pidfd_open(pid) for rank, pid in pids.items()}
        if self._terminating:  # between the last poll and the fork
            self._send(signal.SIGTERM)
        codes: dict[int, int] = {}
        limit: float | None = None
        while self._running:
            for rank in self._ended(limit):
                os.close(self._running.pop(rank))
                codes[rank] = os.waitstatus_to_exitcode(os.waitpid(pids[rank], 0)[1])
                if codes[rank] != 0 and limit is None:
                    limit = time.monotonic() + (_GRACE_S if self._terminating else _BROKEN_S)
                    self._send(signal.SIGTERM)
            if limit is not None and time.monotonic() >= limit:
                self._send(signal.SIGKILL)
                limit = time.monotonic() + _GRACE_S
        return self._why(codes)

    def _ended(self, limit: float | None) -> list[int]:
        """Ranks that have ended; waits for one, or until the limit."""
        poll = select.poll()
        for handle in self._running.values():
            poll.register(handle, select.POLLIN)
        left = None if limit is None else max(0.0, limit - time.monotonic()) * 1000
        ready = {handle for handle, _ in poll.poll(left)}
        return [rank for rank, handle in self._running.items() if handle in ready]

    def _why(self, codes: Mapping[int, int]) -> Failure | None:
        """What ended an attempt: what the first rank that failed said, unless another was killed and could not."""
        failed = {rank: code for rank, code in codes.items() if code != 0}
        if not failed:
            return None
        said = self._said()
        failure = said.failure if said is not None else None
        caused_by_us = failure is not None and failure.failure_class is FailureClass.PREEMPTED and not self._terminating
        if failure is not None and not caused_by_us and not reasons.is_victim(failure):
            return failure
        silent = [rank for rank, code in failed.items() if code < 0 and code != -signal.SIGTERM]
        first = next(iter(silent or failed))  # in the order of their ends
        if failure is None or silent:
            code = 128 - failed[first] if failed[first] < 0 else failed[first]
            named = reasons.exit_code(f"of rank {first}", {"exitCode": code})
            failure = named.model_copy(update={"rank": first, "checkpoint": last_checkpoint()})
            Outcome(failure=failure).write(self._message)
        return failure

    def _worth_it(self, failure: Failure) -> bool:
        """Whether the same program, at the same place, may do better: a rank was killed, or hung, but only once."""
        self._hung += failure.failure_class is FailureClass.HUNG
        killed = (failure.failure_class, failure.kind) == (FailureClass.APPLICATION, "killed")
        return killed or (failure.failure_class is FailureClass.HUNG and self._hung == 1)

    def _environment(self, attempt: int) -> dict[str, str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(self._count),
            "LOCAL_WORLD_SIZE": str(self._count),
            "TORCHELASTIC_RESTART_COUNT": str(attempt),
        }

    def _fork(self, rank: int, shared: Mapping[str, str]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        # A SIGTERM that comes before the rank has its own handler waits: this one's would swallow it there.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            self._be(rank, shared)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return pid

    def _be(self, rank: int, shared: Mapping[str, str]) -> NoReturn:
        """Be a rank, in the new process."""
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            gc.enable()
            os.environ.update(shared, RANK=str(rank), LOCAL_RANK=str(rank))
            self._program()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:  # noqa: BLE001 - nothing may leave here: this process would go on as a second launcher
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _send(self, number: signal.Signals) -> None:
        for handle in self._running.values():
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                continue  # it has ended, and will be collected

    def _end(self, number: int, frame: object) -> None:
        self._terminating = True
        self._send(signal.SIGTERM)


def _become(program: Sequence[str], *, module: bool) -> None:
    """Run a program as ``python``, or ``python -m``, does."""
    sys.argv = list(program)
    if not module:
        runpy.run_path(program[0], run_name="__main__")
        return
    sys.modules.pop(program[0], None)  # imported for what it imports; here it is __main__
    runpy.run_module(program[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
