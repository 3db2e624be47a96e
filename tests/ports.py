"""TCP ports on loopback."""

import secrets
import socket

_FIRST, _COUNT = 20_000, 12_000
"""Below those that the kernel gives to connections and to whoever asks for any: a test may use its port only later."""

_given: set[int] = set()


def free_port() -> int:
    """A port that is free, and that no other test of this process gets."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # somebody else's
                continue
        _given.add(port)
        return port
