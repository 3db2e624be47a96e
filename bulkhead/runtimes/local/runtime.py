"""The local runtime's verbs: launch, status, terminate, delete. Any process may call them at any time."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kubernetes import client as k8s

from bulkhead.errors import ConflictError, FencedError, InvalidInputError, NotFoundError, UnavailableError
from bulkhead.files import read_json, remove_tree, write_json
from bulkhead.pods.identity import GENERATION, matches
from bulkhead.pods.spec import GPU_RESOURCE
from bulkhead.pods.status import PodStatus, parse
from bulkhead.runtimes.local import gpus, validation
from bulkhead.runtimes.local.layout import Layout, PodFiles

log = logging.getLogger(__name__)

_START_GRACE_S = 20.0
_OWN_MESSAGES = 256 * 1024


class LocalRuntime:
    """Runs pods as processes on this machine.

    Args:
        root: folder for everything; made with mode 0700.
        simulated_gpus: how many simulated GPUs may serve ``nvidia.com/gpu`` requests where NVML sees no GPU.
            0, the default, makes such a request an error.
    """

    def __init__(self, root: str | Path, simulated_gpus: int = 0) -> None:
        if simulated_gpus < 0:
            raise InvalidInputError("simulated_gpus", simulated_gpus, "give 0 or more")
        self.layout = Layout(Path(root).absolute())
        self.simulated_gpus = simulated_gpus

    def launch(self, pod: k8s.V1Pod) -> bool:
        """Start a pod. Creating is the lock: of many callers with the same name exactly one creates it.

        Returns:
            True if this call created it; False if it existed with the same labels and was adopted.

        Raises:
            UnsupportedError: the pod asks for what this runtime does not do. Nothing was started.
            InvalidInputError: it asks for more GPUs than there are. Nothing was started.
            ConflictError: a pod of that name exists and has another owner.
        """
        document: dict[str, Any] = k8s.ApiClient().sanitize_for_serialization(pod)
        validation.check(document)
        limits = document["spec"]["containers"][0].get("resources", {}).get("limits", {})
        gpus.check_request(int(limits.get(GPU_RESOURCE, 0)), self.simulated_gpus)
        self.layout.make()
        files = self._files(pod.metadata.name, pod.metadata.namespace or "default")
        created = self._create(files, document)
        if not created:
            existing = read_json(files.spec) or {}
            labels = document["metadata"].get("labels") or {}
            if not matches(existing.get("metadata", {}).get("labels"), labels):
                raise ConflictError(
                    f"pod {files.pod_id} exists and belongs to another owner; delete it or rename yours"
                )
        if not files.supervised() and not self.status(pod.metadata.name, files.pod_id.split(".")[0]).ended:
            self._supervise(files)
        return created

    def status(self, name: str, namespace: str = "default") -> PodStatus:
        """The pod's status; a pod whose supervisor died is declared lost here, by the first reader.

        Raises:
            NotFoundError: there is no such pod.
        """
        files = self._files(name, namespace)
        recorded = parse(self._read_status(files))
        if recorded.ended or files.supervised():
            return recorded
        status = self._read_status(files)
        again = parse(status)  # it may have ended between the two polls
        if again.ended or (not files.lock.exists() and time.time() - files.spec.stat().st_mtime < _START_GRACE_S):
            return again
        lost = {
            "phase": "Failed",
            "reason": "NodeLost",
            "message": "the pod's supervisor process died; its container died with it and its exit code is unknown",
            "containerStatuses": status.get("containerStatuses"),
        }
        write_json(files.status, lost)
        # What a supervisor that was killed could not remove. Its processes may still be ending.
        if (why := remove_tree(files.temporary)) is not None:
            log.warning("temporary files of pod %s stay until it is deleted: %s", files.pod_id, why)
        return parse(lost)

    def document(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """A pod with its status, in the JSON form of Kubernetes.

        Raises:
            NotFoundError: there is no such pod.
        """
        self.status(name, namespace)  # so that a lost supervisor shows
        files = self._files(name, namespace)
        return {**(read_json(files.spec) or {}), "status": self._read_status(files)}

    def list(self, selector: Mapping[str, str]) -> Iterator[k8s.V1ObjectMeta]:
        """Metadata of the pods whose labels match.

        Args:
            selector: labels that must be equal; empty for every pod.

        Yields:
            Name, namespace, labels and annotations.
        """
        if not self.layout.pods.exists():
            return
        for folder in sorted(self.layout.pods.iterdir()):
            document = read_json(folder / "pod.json") if not folder.name.startswith(".") else None
            if document and matches(document["metadata"].get("labels"), selector):
                metadata = document["metadata"]
                yield k8s.V1ObjectMeta(
                    name=metadata["name"],
                    namespace=metadata.get("namespace"),
                    labels=metadata.get("labels"),
                    annotations=metadata.get("annotations"),
                )

    def terminate(
        self,
        name: str,
        namespace: str = "default",
        *,
        reason: str,
        grace_s: float | None = None,
        timeout_s: float = 90,
    ) -> None:
        """End a pod and keep its record: SIGTERM, then after the grace period SIGKILL, to the process group.

        Does nothing to a pod that has ended or does not exist.

        Args:
            reason: kept in the status.
            grace_s: seconds between the signals; the pod's own by default.
            timeout_s: how long to wait for the end, in seconds.

        Raises:
            UnavailableError: it has not ended by then.
        """
        files = self._files(name, namespace)
        if not files.spec.exists() or parse(self._read_status(files)).ended:
            return
        request: dict[str, Any] = {"reason": reason}
        if grace_s is not None:
            request["grace_s"] = grace_s
        write_json(files.cancel, request)  # first: a supervisor that is only now starting reads it
        pid = self._supervisor_pid(files)
        if pid is None:
            return
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if not select.select([handle], [], [], timeout_s)[0]:
                raise UnavailableError(f"pod {files.pod_id} has not ended {timeout_s:g} s after it was told to")
        except ProcessLookupError:
            return
        finally:
            os.close(handle)

    def delete(
        self,
        name: str,
        namespace: str = "default",
        *,
        reason: str,
        generation: int | None = None,
        grace_s: float | None = None,
    ) -> None:
        """End a pod and remove its record. Idempotent.

        Args:
            reason: for the record of the supervisor.
            generation: the caller's fence; a pod written under a later one is not deleted. None: no check.
            grace_s: seconds between SIGTERM and SIGKILL; the pod's own by default.

        Raises:
            FencedError: the pod was launched under a later generation.
        """
        files = self._files(name, namespace)
        document = read_json(files.spec)
        if document is None:
            return
        theirs = int((document["metadata"].get("annotations") or {}).get(GENERATION, 0))
        if generation is not None and theirs > generation:
            raise FencedError(f"pod {files.pod_id} belongs to generation {theirs}, the delete to {generation}")
        self.terminate(name, namespace, reason=reason, grace_s=grace_s)
        # In this order a deleter that dies leaves a pod that has ended, or none: never half of one.
        files.status.unlink(missing_ok=True)
        grave = self._hidden(files)
        with contextlib.suppress(FileNotFoundError):  # another deleter was quicker
            files.folder.rename(grave)
            shutil.rmtree(grave)

    def read_log(self, name: str, namespace: str = "default", max_bytes: int = _OWN_MESSAGES) -> str:
        """The end of the pod's log.

        Args:
            max_bytes: at most so much of it.
        """
        path = self._files(name, namespace).log
        older = path.with_name(path.name + ".1")
        data = b"".join(part.read_bytes() for part in (older, path) if part.exists())
        return data[-max_bytes:].decode("utf-8", "replace")

    def write_secret(self, name: str, values: Mapping[str, str]) -> None:
        """Store what ``secretKeyRef`` resolves to here; files of mode 0600 in folders of mode 0700."""
        self.layout.make()
        folder = self.layout.secrets / name
        folder.mkdir(mode=0o700, exist_ok=True)
        for key, value in values.items():
            descriptor = os.open(folder / key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(value)

    def _files(self, name: str, namespace: str) -> PodFiles:
        return PodFiles(self.layout, f"{namespace}.{name}")

    def _create(self, files: PodFiles, document: dict[str, Any]) -> bool:
        staging = self._hidden(files)
        staging.mkdir(mode=0o700)
        write_json(staging / "pod.json", document)
        try:
            staging.rename(files.folder)  # fails if the folder is there: the lock
        except OSError:
            shutil.rmtree(staging)
            if not files.folder.exists():
                raise
            return False
        return True

    def _hidden(self, files: PodFiles) -> Path:
        """A name beside the pod's folder that is not listed."""
        return self.layout.pods / f".{files.pod_id}.{uuid.uuid4().hex}"

    def _read_status(self, files: PodFiles) -> dict[str, Any]:
        status: dict[str, Any] | None = read_json(files.status)
        if status is not None:
            return status
        if files.spec.exists():  # no supervisor has written yet
            return {"phase": "Pending"}
        raise NotFoundError(
            f"no pod {files.pod_id.partition('.')[2]!r} in namespace {files.pod_id.partition('.')[0]!r}"
        )

    def _supervise(self, files: PodFiles) -> None:
        arguments = [str(self.layout.root), files.pod_id, str(self.simulated_gpus)]
        with (files.folder / "supervisor.log").open("ab") as log:
            starter = subprocess.run(
                [sys.executable, "-m", "bulkhead.runtimes.local.supervisor", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=files.folder,
                env=_supervisor_environment(),
                check=False,
                timeout=60,
            )
        if starter.returncode != 0:
            raise UnavailableError(
                f"the supervisor of pod {files.pod_id} did not start: see {files.folder}/supervisor.log"
            )

    def _supervisor_pid(self, files: PodFiles) -> int | None:
        if not files.supervised():
            return None
        with contextlib.suppress(OSError, ValueError):
            return int(files.lock.read_text())
        return None


def _supervisor_environment() -> dict[str, str]:
    """What a Python needs to find itself and its packages, and nothing of what the launcher keeps secret."""
    keep = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in keep if name in os.environ}
