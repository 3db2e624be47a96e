"""Serving workloads: one pod a revision, on the local runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bulkhead.ledger.tables import Revision
from bulkhead.pods.identity import GENERATION, LABEL_PREFIX
from bulkhead.pods.spec import PodRequest, SecretRef, build
from bulkhead.pods.status import PodStatus
from bulkhead.runtimes.local.ports import free_port
from bulkhead.runtimes.local.runtime import LocalRuntime

STATISTICS = "/statistics"
"""Where our own servers say what their models answered."""

_REVISION = LABEL_PREFIX + "revision"
_COMPARER = LABEL_PREFIX + "compares"
_PORT = LABEL_PREFIX + "port"
_COMPARER_IMAGE = "bulkhead/gpu-tasks:0.1.0"
_STATISTICS = LABEL_PREFIX + "statistics"


@dataclass(frozen=True)
class Workload:
    """A revision's server as it is now.

    Attributes:
        port: TCP port on loopback.
        status: of its pod.
        statistics: path at which it says what its model answered, or None.
    """

    port: int
    status: PodStatus
    statistics: str | None = None

    def url(self, path: str) -> str:
        """A URL of the server.

        Args:
            path: with its slash.
        """
        return f"http://127.0.0.1:{self.port}{path}"


class LocalWorkloads:
    """Servers as pods of the local runtime.

    Args:
        runtime: where they run.
        env: plain variables of every server (the tracking URI).
        secret_env: variables of every server from secrets, as (secret, key) by name.
    """

    def __init__(
        self, runtime: LocalRuntime, env: Mapping[str, str], secret_env: Mapping[str, tuple[str, str]]
    ) -> None:
        self._runtime, self._env, self._secret_env = runtime, env, secret_env

    def launch(self, revision: Revision, generation: int) -> None:
        """Start a revision's server, unless it runs; one whose launcher died half-way is seen through.

        Args:
            revision: what to serve.
            generation: the writer's fence.

        Raises:
            InvalidInputError: the runtime cannot serve the request (see ``LocalRuntime.launch``).
        """
        self._start(self.find(revision.id), self._request(revision, free_port(), generation), generation)

    def find(self, revision_id: str) -> Workload | None:
        """A revision's server, or None if there is none.

        Args:
            revision_id: of the revision.
        """
        return self._find({_REVISION: revision_id})

    def stop(self, revision_id: str, generation: int) -> None:
        """Stop a revision's server. Idempotent.

        Args:
            revision_id: of the revision.
            generation: the writer's fence.

        Raises:
            FencedError: the server was started under a later generation.
        """
        self._runtime.delete(_name(revision_id), reason="it serves no traffic any more", generation=generation)

    def evidence(self, revision_id: str) -> dict[str, str]:
        """What a revision's pod shows: its log, its status, what was asked for.

        Args:
            revision_id: of the revision.

        Returns:
            Text by file name; nothing where it has no pod any more.
        """
        if self.find(revision_id) is None:
            return {}
        name = _name(revision_id)
        status = asdict(self._runtime.status(name))
        return {
            "pod.json": json.dumps(self._runtime.document(name), indent=1),
            "status.json": json.dumps(status, indent=1, default=str),
            "server.log": self._runtime.read_log(name),
        }

    def launch_comparer(self, revision_id: str, service: str, port: int, stable_port: int, generation: int) -> None:
        """Start whoever asks candidate and stable the same and compares their answers, unless it runs.

        Args:
            revision_id: the candidate.
            service: of both.
            port: the candidate's.
            stable_port: the stable revision's.
            generation: the writer's fence.
        """
        own = free_port()
        ports = ["--port", str(own), "--candidate-port", str(port), "--stable-port", str(stable_port)]
        request = PodRequest(
            name=_comparer_name(revision_id),
            image=_COMPARER_IMAGE,
            command=["python", "-m", "gpu_tasks.compare", *ports],
            labels={_COMPARER: revision_id, LABEL_PREFIX + "service": service},
            annotations={GENERATION: str(generation), _PORT: str(own)},
            deadline_s=None,
            grace_s=5,
            port=own,
            ready_path="/ping",
        )
        self._start(self.find_comparer(revision_id), request, generation)

    def find_comparer(self, revision_id: str) -> Workload | None:
        """Whoever compares a candidate's answers, or None if nobody does.

        Args:
            revision_id: of the candidate.
        """
        return self._find({_COMPARER: revision_id})

    def stop_comparer(self, revision_id: str, generation: int) -> None:
        """Stop comparing a candidate's answers. Idempotent.

        Args:
            revision_id: of the candidate.
            generation: the writer's fence.

        Raises:
            FencedError: it was started under a later generation.
        """
        name = _comparer_name(revision_id)
        self._runtime.delete(name, reason="its answers are compared no more", generation=generation)

    def _start(self, known: Workload | None, request: PodRequest, generation: int) -> None:
        if known is not None and known.status.ended:
            self._runtime.delete(request.name, reason="it ended and is started again", generation=generation)
        self._runtime.launch(build(request))

    def _find(self, labels: Mapping[str, str]) -> Workload | None:
        for metadata in self._runtime.list(labels):
            status = self._runtime.status(metadata.name, metadata.namespace)
            notes = metadata.annotations
            return Workload(int(notes[_PORT]), status, notes.get(_STATISTICS) or None)
        return None

    def _request(self, revision: Revision, port: int, generation: int) -> PodRequest:
        serve: Mapping[str, Any] = revision.serve
        uri = revision.model_uri
        default = ["python", "-m", "gpu_tasks.serve", "--model-uri", uri, "--port", str(port)]
        command = [word.format(port=port, model_uri=uri) for word in serve.get("command", [])] or default
        # A server of somebody else's says nothing of its model's answers, unless it names a path where it does.
        statistics = str(serve.get("statistics_path", "" if serve.get("command") else STATISTICS))
        secrets = {**self._secret_env, **{name: tuple(ref) for name, ref in serve.get("secret_env", {}).items()}}
        return PodRequest(
            name=_name(revision.id),
            image=revision.image,
            command=command,
            gpus=int(serve.get("gpus", 0)),
            cpu=serve.get("cpu"),
            memory=serve.get("memory"),
            env={**self._env, **serve.get("env", {})},
            secret_env={name: SecretRef(*reference) for name, reference in secrets.items()},
            labels={_REVISION: revision.id, LABEL_PREFIX + "service": revision.service},
            annotations={GENERATION: str(generation), _PORT: str(port), _STATISTICS: statistics},
            deadline_s=None,
            grace_s=10,
            port=port,
            ready_path=serve.get("ready_path", "/ping"),
        )


def _comparer_name(revision_id: str) -> str:
    return f"compare-{revision_id}"


def _name(revision_id: str) -> str:
    return f"serve-{revision_id}"
