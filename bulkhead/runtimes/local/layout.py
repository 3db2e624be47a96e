"""Where the local runtime keeps things. Standard library only: the supervisor imports it.

``pods/<namespace>.<name>/`` holds one pod: ``pod.json`` (as submitted), ``log``, ``termination-log``,
``volumes/``, ``tmp/`` (while its container runs), ``supervisor.lock`` (held for as long as its supervisor lives)
and ``supervisor.log``.
``claims/<name>/`` is what a PersistentVolumeClaim means here: it is made when a pod first names it, and stays.
``status/<namespace>.<name>.json`` holds its status; that folder is what one shared watch looks at.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bulkhead.files import make_private


@dataclass(frozen=True)
class Layout:
    """Paths below a runtime's root.

    Attributes:
        root: the folder; made with mode 0700 since logs and secrets lie below it.
    """

    root: Path

    def make(self) -> None:
        """Create the folders that are missing."""
        for folder in (self.root, self.pods, self.status, self.gpus, self.secrets):
            make_private(folder)

    @property
    def pods(self) -> Path:
        """One folder a pod."""
        return self.root / "pods"

    @property
    def status(self) -> Path:
        """One file a pod; the watch looks here."""
        return self.root / "status"

    @property
    def gpus(self) -> Path:
        """One lock file a GPU."""
        return self.root / "gpus"

    @property
    def claims(self) -> Path:
        """One folder a PersistentVolumeClaim."""
        return self.root / "claims"

    @property
    def secrets(self) -> Path:
        """``<name>/<key>``, a file a value: what ``secretKeyRef`` means here."""
        return self.root / "secrets"


@dataclass(frozen=True)
class PodFiles:
    """The files of one pod.

    Attributes:
        layout: of the runtime.
        pod_id: ``<namespace>.<name>``.
    """

    layout: Layout
    pod_id: str

    @property
    def folder(self) -> Path:
        """The pod's own folder."""
        return self.layout.pods / self.pod_id

    @property
    def spec(self) -> Path:
        """The pod as submitted."""
        return self.folder / "pod.json"

    @property
    def status(self) -> Path:
        """The pod's status object."""
        return self.layout.status / f"{self.pod_id}.json"

    @property
    def log(self) -> Path:
        """Standard output and error of the container."""
        return self.folder / "log"

    @property
    def termination_log(self) -> Path:
        """What Kubernetes calls the termination message path."""
        return self.folder / "termination-log"

    @property
    def temporary(self) -> Path:
        """The container's temporary files; removed with its end, and with the pod."""
        return self.folder / "tmp"

    @property
    def cancel(self) -> Path:
        """Written to ask the supervisor to end the pod: ``{"grace_s": .., "reason": ..}``."""
        return self.folder / "cancel.json"

    @property
    def lock(self) -> Path:
        """Held exclusively by the living supervisor; its text is the supervisor's pid."""
        return self.folder / "supervisor.lock"

    def supervised(self) -> bool:
        """Whether a living supervisor holds the pod."""
        try:
            descriptor = os.open(self.lock, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def now() -> str:
    """The time as Kubernetes writes it, with microseconds."""
    return datetime.now(UTC).isoformat()
