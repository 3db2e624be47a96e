"""Ports of pods on this machine: what a client meets while there is no pod (tests/cluster has the rest)."""

import socket
import threading

import pytest
from kubernetes import client as k8s

from bulkhead.demo.cluster.forward import Forward, _pump
from tests.servers import Backend


def test_while_there_is_no_pod_connections_end_and_after_the_close_there_are_none() -> None:
    server = Backend('{"items": []}')
    host = f"http://127.0.0.1:{server.port}"
    forward = Forward(k8s.ApiClient(k8s.Configuration(host=host)), "demo", "postgres", 5432)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", forward.port), timeout=30) as connection:
            assert connection.recv(1) == b""
    forward.close()
    server.stop()
    assert server.asked  # for its pods
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", forward.port), timeout=30)


def test_what_is_pumped_arrives_whole_and_its_end_too() -> None:
    (near, source), (target, far) = socket.socketpair(), socket.socketpair()
    with near, source, target, far:
        pump = threading.Thread(target=_pump, args=(source, target))
        pump.start()
        near.sendall(b"x" * 300_000)
        near.shutdown(socket.SHUT_WR)
        with far.makefile("rb") as stream:
            assert stream.read() == b"x" * 300_000
        pump.join(30)
        assert not pump.is_alive()
