"""Launching pods of the local runtime, and looking at their processes."""

import os
from pathlib import Path

from kubernetes import client as k8s

from bulkhead.pods.spec import PodRequest, build
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.runtimes.local.runtime import LocalRuntime
from tests.waiting import until


def python(code: str) -> list[str]:
    return ["python", "-c", code]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def launch(runtime: LocalRuntime, command: list[str], name: str = "job", **more: object) -> k8s.V1Pod:
    pod = build(PodRequest(name=name, image="none", command=command, **more))  # type: ignore[arg-type]
    runtime.launch(pod)
    return pod


def running(runtime: LocalRuntime, name: str = "job") -> PodStatus:
    def poll() -> PodStatus | None:
        status = runtime.status(name)
        assert not status.ended, runtime.read_log(name)
        return status if status.phase is PodPhase.RUNNING else None

    return until(poll, f"pod {name} to run")


def logged(runtime: LocalRuntime, text: str, name: str = "job") -> None:
    until(lambda: text in runtime.read_log(name), f"{text!r} in the log of {name}")


def from_inside(runtime: LocalRuntime, path: Path) -> str:
    """A path of this machine as a pod's command may name it.

    An absolute one would be mapped into the pod where it begins with one of its mount paths, as /tmp is.
    """
    return os.path.relpath(path, runtime.layout.pods / "default.pod")
