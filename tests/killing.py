"""Ending a process by SIGKILL just before its n-th effect on the world, whatever that effect is.

Effects are seen where the interpreter reports them (audit events, PEP 578), so that the code under test needs no
hooks: files renamed, removed, folders made, processes started, HTTP requests that write; and each commit of the
ledger, before and after.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event

_EFFECTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "subprocess.Popen"}
_READING = (b"GET ", b"HEAD ")


class Effects:
    """Counts this process' effects and ends it just before one of them.

    Args:
        kill_at: index of the effect, from 0; -1 to count only.
    """

    def __init__(self, kill_at: int = -1) -> None:
        self._kill_at = kill_at
        self.seen: list[str] = []

    def watch(self, engine: Engine) -> None:
        """Begin. There is no way to stop but the end of the process.

        Args:
            engine: of the ledger.
        """
        self.watch_engine(engine)
        self.watch_process()

    def watch_engine(self, engine: Engine) -> None:
        """Begin with the transactions of a ledger.

        Args:
            engine: of the ledger.
        """
        wrote: set[int] = set()

        def commit(connection: Connection) -> None:
            self._meet("before commit")
            wrote.add(id(connection.connection.dbapi_connection))

        def checkin(connection: object, _: object) -> None:
            if id(connection) in wrote:
                wrote.discard(id(connection))
                self._meet("after transaction")

        event.listen(engine, "commit", commit)
        event.listen(engine, "checkin", checkin)

    def watch_process(self) -> None:
        """Begin with everything that the interpreter reports."""
        sys.addaudithook(self._audit)

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in _EFFECTS:
            self._meet(f"{name} {arguments[0]!s:.60}")
        elif name == "http.client.send":
            data = arguments[1]
            if isinstance(data, bytes) and not data.startswith(_READING) and b" HTTP/1" in data[:300]:
                self._meet(f"http {data.split(b' HTTP')[0].decode()}")

    def _meet(self, what: str) -> None:
        if len(self.seen) == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append(what)


def run_in_fork(job: Callable[[], None]) -> int:
    """Run a job in a fork of this process.

    Args:
        job: what to do; its exception is printed and becomes exit code 1.

    Returns:
        The exit code; minus the signal's number where one ended it.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            job()
            code = 0
        except BaseException:  # noqa: BLE001 - a fork must never return into the test runner
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:  # the test's time is over: what it has begun must not go on beside the others
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
