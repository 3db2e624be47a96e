"""Ports of pods on this machine: what a client meets while there is no pod (tests/cluster has the rest)."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client as k8s

from bulkhead.demo.cluster.forward import Forward, _pump


class NoPods(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"items": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def test_while_there_is_no_pod_connections_end_and_after_the_close_there_are_none() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoPods)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    host = f"http://127.0.0.1:{server.server_address[1]}"
    forward = Forward(k8s.ApiClient(k8s.Configuration(host=host)), "demo", "postgres", 5432)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", forward.port), timeout=30) as connection:
            assert connection.recv(1) == b""
    forward.close()
    server.shutdown()
    server.server_close()
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
