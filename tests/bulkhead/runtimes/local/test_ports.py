import socket

from bulkhead.runtimes.local.ports import free_port


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
