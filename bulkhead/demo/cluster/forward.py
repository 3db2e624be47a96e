"""A port of a pod as one of this machine, through the API server: as ``kubectl port-forward`` does, but to any pod of a
Deployment, so that the next connection reaches what has replaced it."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress

from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward

log = logging.getLogger(__name__)

_CHUNK = 65536


class Forward:
    """Listens on a free port of loopback until it is closed.

    Args:
        api: of the cluster.
        namespace: of the pods.
        app: value of their label ``app``.
        port: of the pods.
    """

    def __init__(self, api: k8s.ApiClient, namespace: str, app: str, port: int) -> None:
        self._api, self._namespace, self._app, self._pods_port = api, namespace, app, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name=f"forward to {app}", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                there = self._connect()
            except (ApiException, OSError, ConnectionError) as silent:  # the client sees a connection that ends
                log.debug("no connection to %s in namespace %s: %s", self._app, self._namespace, silent)
                return
            back = threading.Thread(target=_pump, args=(there, connection), daemon=True)
            back.start()
            _pump(connection, there)
            back.join()
            there.close()

    def _connect(self) -> socket.socket:
        own = k8s.CoreV1Api(k8s.ApiClient(self._api.configuration))  # the stream takes its client over
        pods = own.list_namespaced_pod(self._namespace, label_selector=f"app={self._app}").items
        running = [pod.metadata.name for pod in pods if pod.status.phase == "Running"]
        if not running:
            raise ConnectionError("no pod of it runs")
        call = own.connect_get_namespaced_pod_portforward
        forwarded = portforward(call, running[0], self._namespace, ports=str(self._pods_port))
        there: socket.socket = forwarded.socket(self._pods_port)
        there.setblocking(True)
        return there


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, and end the target's direction."""
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
