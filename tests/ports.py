"""TCP ports on loopback."""

import os
import secrets
import socket

_FIRST, _COUNT = 20_000, 12_000
"""Below those that the kernel gives to connections and to whoever asks for any: a test may use its port only later."""

_MOST_WORKERS = 12

_given: set[int] = set()


def free_port() -> int:
    """A port that is free, and that no other test gets: each worker of pytest-xdist has a range of its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _MOST_WORKERS
    share = _COUNT // _MOST_WORKERS
    while True:
        port = _FIRST + worker * share + secrets.randbelow(share)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # somebody else's
                continue
        _given.add(port)
        return port
