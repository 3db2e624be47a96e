"""TCP ports on loopback for what runs in local pods."""

import socket


def free_port() -> int:
    """A port that is free now. If another process takes it first, the server says so, ends, and is restarted."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
