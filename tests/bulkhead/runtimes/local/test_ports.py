import socket
from pathlib import Path

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.runtimes.local import ports
from bulkhead.runtimes.local.ports import free_port

KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_a_free_port_can_be_bound_and_no_connection_gets_it_meanwhile() -> None:
    port = free_port()
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
    assert port < int(KERNELS.read_text().split()[0])


def test_one_that_is_taken_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        monkeypatch.setattr(ports, "_FIRST", server.getsockname()[1])
        monkeypatch.setattr(ports, "_COUNT", 1)
        with pytest.raises(UnavailableError, match="no port of"):
            free_port()
