"""TCP ports on loopback for what runs in local pods."""

import secrets
import socket

from bulkhead.errors import UnavailableError

_FIRST, _COUNT = 10_000, 10_000
"""Below those that the kernel gives to connections, and to whoever asks for any (from 32768): what is to listen may
take seconds to start, and any connection of this machine could have its port by then."""

_TRIES = 1_000


def free_port() -> int:
    """A port that is free now. If another process takes it first, the server says so, ends, and is restarted.

    Raises:
        UnavailableError: none was found.
    """
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_COUNT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # somebody else's
                continue
        return port
    raise UnavailableError(f"no port of {_FIRST} to {_FIRST + _COUNT - 1} on 127.0.0.1 is free")
