"""The demo's clients in the cluster: a pod that asks, whose log says what was answered."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from bulkhead.demo.cluster.manifests import NAMESPACE
from bulkhead.demo.traffic import Answer, Clients
from bulkhead.errors import UnavailableError

_NAME = "clients"
_STARTING = (400, 404)
"""Of a log: the container is not there yet; the kubelet does not know the pod yet."""

_POLL_S = 0.5
_LONGEST_S = 60


class PodTraffic(Clients):
    """Real digits at a steady rate, from a pod.

    Args:
        api: of the cluster.
        pod: as it is to be made.
    """

    def __init__(self, api: k8s.ApiClient, pod: Mapping[str, Any]) -> None:
        super().__init__()
        self._core, self._pod = k8s.CoreV1Api(api), pod
        self._seen: set[int] = set()
        self._sent: int | None = None
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """See ``Clients``."""
        self._core.create_namespaced_pod(NAMESPACE, self._pod)
        self._thread.start()

    def check(self) -> None:
        """See ``Clients``."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """See ``Clients``.

        Raises:
            UnavailableError: some of what the clients have seen did not arrive here.
        """
        if self._thread.is_alive():
            self._core.delete_namespaced_pod(_NAME, NAMESPACE)
            self._thread.join(_LONGEST_S)
        self.check()
        if self._sent != len(self._seen):
            raise UnavailableError(f"of {self._sent} answers to the clients {len(self._seen)} were seen here")

    def _run(self) -> None:
        try:
            while self._sent is None:
                for line in self._lines():
                    self._take(json.loads(line))
                if self._sent is None:
                    self._check_pod()
                    self._over.wait(_POLL_S)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asks with check()
            self._failure = error

    def _take(self, said: dict[str, Any]) -> None:
        if "sent" in said:
            self._sent = int(said["sent"])
            return
        number = said.pop("number")
        if number not in self._seen:  # a log that was read anew begins at its beginning
            self._seen.add(number)
            self.answers.append(Answer(**said))

    def _lines(self) -> Iterator[bytes]:
        """Whole lines of the log, until it ends or is cut."""
        try:
            log = self._core.read_namespaced_pod_log(_NAME, NAMESPACE, follow=True, _preload_content=False)
        except ApiException as refused:
            if refused.status in _STARTING:
                return
            raise UnavailableError(f"the clients' log cannot be read: {refused.reason}") from refused
        rest = b""
        try:
            for chunk in log.stream(amt=None):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
        except HTTPError:  # cut: it is read anew
            return
        finally:
            log.release_conn()

    def _check_pod(self) -> None:
        try:
            pod = self._core.read_namespaced_pod(_NAME, NAMESPACE)
        except ApiException as refused:
            raise UnavailableError(f"the clients' pod is gone: {refused.reason}") from refused
        if pod.status.phase == "Failed":
            log = self._core.read_namespaced_pod_log(_NAME, NAMESPACE, tail_lines=20, _preload_content=False)
            raise UnavailableError(f"the clients' pod has failed: {log.data.decode(errors='replace')}")
