"""Servers on this machine: one pod of the local runtime a revision, each on a port of loopback."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict

from bulkhead.errors import UnsupportedError
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.tables import Revision
from bulkhead.pods.identity import GENERATION, LABEL_PREFIX
from bulkhead.pods.serving_names import comparer_name, server_name
from bulkhead.pods.spec import PodRequest, build
from bulkhead.runtimes.local.ports import free_port
from bulkhead.runtimes.local.runtime import LocalRuntime
from bulkhead.workloads.base import STATISTICS, Placement, Workload, address
from bulkhead.workloads.serving import parse_serve

_REVISION = LABEL_PREFIX + "revision"
_COMPARER = LABEL_PREFIX + "compares"
_PORT = LABEL_PREFIX + "port"
_STATISTICS = LABEL_PREFIX + "statistics"


class LocalWorkloads:
    """Servers as pods of the local runtime.

    Args:
        env: plain variables of every server (the tracking URI).
        secret_env: variables of every server from secrets, as (secret, key) by name.
        tasks_image: of what compares answers, as a record: see ``Settings``.
    """

    def __init__(
        self,
        runtime: LocalRuntime,
        env: Mapping[str, str],
        secret_env: Mapping[str, tuple[str, str]],
        tasks_image: str,
    ) -> None:
        self._runtime, self._env, self._secret_env = runtime, env, secret_env
        self._tasks_image = tasks_image

    def launch(self, revision: Revision, generation: int) -> None:
        """Start a revision's server, unless it runs; one whose launcher died half-way is seen through.

        Raises:
            InvalidInputError: the runtime cannot serve the request (see ``LocalRuntime.launch``).
        """
        self._start(self.find(revision.id), self._request(revision, free_port(), generation), generation)

    def find(self, revision_id: str) -> Workload | None:
        """A revision's server, or None if there is none."""
        return self._find({_REVISION: revision_id})

    def statistics_endpoints(self, revision_id: str) -> Mapping[str, str]:
        """See ``Workloads.statistics_endpoints``; a pod of this runtime has one life."""
        pods = self._runtime.list({_REVISION: revision_id})
        notes = {serving.name: serving.annotations for serving in pods if serving.annotations.get(_STATISTICS)}
        return {pod: f"http://127.0.0.1:{note[_PORT]}{note[_STATISTICS]}" for pod, note in notes.items()}

    def placement(self, revision_id: str) -> Placement:
        """See ``Workloads.placement``: this machine."""
        if self.find(revision_id) is None:
            return Placement()
        return Placement(frozenset({socket.gethostname()}), frozenset({f"default/{server_name(revision_id)}"}))

    def stop(self, revision_id: str, generation: int) -> None:
        """Stop a revision's server. Idempotent.

        Raises:
            FencedError: the server was started under a later generation.
        """
        self._runtime.delete(server_name(revision_id), reason="it serves no traffic any more", generation=generation)

    def evidence(self, revision_id: str) -> dict[str, str]:
        """What a revision's pod shows: its log, its status, what was asked for.

        Returns:
            Text by file name; nothing where it has no pod any more.
        """
        if self.find(revision_id) is None:
            return {}
        name = server_name(revision_id)
        status = asdict(self._runtime.status(name))
        return {
            "pod.json": json.dumps(self._runtime.document(name), indent=1),
            "status.json": json.dumps(status, indent=1, default=str),
            "server.log": self._runtime.read_log(name),
        }

    def drift(self, revision: Revision, generation: int) -> str | None:
        """Nothing: a pod of this runtime is as it was launched, or has ended.

        Args:
            generation: under which it would be written now.
        """
        return None

    def deny_network(self, revision_id: str) -> None:
        """Not here.

        Raises:
            UnsupportedError: always.
        """
        remedy = "processes of one machine share its network: release this isolation, or serve on Kubernetes"
        raise UnsupportedError("levels", str(IsolationLevel.NETWORK), remedy)

    def allow_network(self, revision_id: str) -> None:
        """Nothing to take back: it cannot have been cut off."""

    def orphan(self, revision_id: str) -> None:
        """Nothing to do: nothing replaces a pod of this runtime, and its folder stays after its end."""

    def expire(self) -> None:
        """Nothing is kept here beyond its end."""

    def launch_comparer(self, service: str, candidate: str, stable: str, generation: int) -> None:
        """See ``Workloads.launch_comparer``.

        Raises:
            UnavailableError: one of the two has no server.
        """
        own = free_port()
        sides = [f"--candidate={address(self, candidate)}", f"--stable={address(self, stable)}"]
        request = PodRequest(
            name=comparer_name(candidate),
            image=self._tasks_image,
            command=["python", "-m", "bulkhead.gpu_tasks.compare", "--port", str(own), *sides],
            labels={_COMPARER: candidate, LABEL_PREFIX + "service": service},
            annotations={GENERATION: str(generation), _PORT: str(own)},
            deadline_s=None,
            grace_s=5,
            port=own,
            ready_path="/ping",
        )
        self._start(self.find_comparer(candidate), request, generation)

    def find_comparer(self, revision_id: str) -> Workload | None:
        """The comparer of a candidate's answers, or None if there is none."""
        return self._find({_COMPARER: revision_id})

    def stop_comparer(self, revision_id: str, generation: int) -> None:
        """Stop comparing a candidate's answers. Idempotent.

        Raises:
            FencedError: it was started under a later generation.
        """
        name = comparer_name(revision_id)
        self._runtime.delete(name, reason="its answers are compared no more", generation=generation)

    def _start(self, existing: Workload | None, request: PodRequest, generation: int) -> None:
        if existing is not None and existing.status.ended:
            self._runtime.delete(request.name, reason="it ended and is started again", generation=generation)
        self._runtime.launch(build(request))

    def _find(self, labels: Mapping[str, str]) -> Workload | None:
        for metadata in self._runtime.list(labels):
            status = self._runtime.status(metadata.name, metadata.namespace)
            return Workload(int(metadata.annotations[_PORT]), status)
        return None

    def _request(self, revision: Revision, port: int, generation: int) -> PodRequest:
        serve, uri = parse_serve(revision.serve), revision.model_uri
        default = ["python", "-m", "bulkhead.gpu_tasks.serve", "--model-uri", uri, "--port", str(port)]
        # Another's server says nothing of its model's answers, unless it names a path where it does.
        statistics = serve.statistics_path or ("" if serve.command else STATISTICS)
        return PodRequest(
            name=server_name(revision.id),
            image=revision.image,
            command=serve.argv(default, port, uri),
            gpus=serve.gpus,
            cpu=serve.cpu,
            memory=serve.memory,
            env={**self._env, **serve.env},
            secret_env=serve.secrets(self._secret_env),
            labels={_REVISION: revision.id, LABEL_PREFIX + "service": revision.service},
            annotations={GENERATION: str(generation), _PORT: str(port), _STATISTICS: statistics},
            deadline_s=None,
            grace_s=10,
            port=port,
            ready_path=serve.ready_path,
        )
