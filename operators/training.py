"""Where a training keeps its checkpoints, so that a retry goes on and does not begin from zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.operators.templates import is_templated
from bulkhead.pods.distributed import Gang
from bulkhead.pods.identity import TaskIdentity
from bulkhead.pods.training import CHECKPOINTS_VARIABLE, PROGRESS_VARIABLE, is_url, user_with_password

_PROGRESS = "/tmp/bulkhead-progress"
"""Where ranks leave signs of progress whose checkpoints are behind a URL."""

_GONE_WITH_POD = ("memory", "file", "local")
"""Protocols of what ends with the pod, or of what is to be given as a path."""

CLAIM = "checkpoints"
"""The claim that the local runtime mounts at ``checkpoint`` where the author names none."""

_AUTO, _NEVER = "auto", "never"


def check(checkpoint: str | None, resume: str) -> None:
    """Refuse a place that no checkpoint outlives its pod in, and what says neither that a try resumes nor that it does
    not.

    Args:
        checkpoint: see ``environment``; may hold a template.
        resume: see ``environment``.

    Raises:
        InvalidInputError: one is wrong.
    """
    if resume not in (_AUTO, _NEVER):
        raise InvalidInputError("resume", resume, f"give {_AUTO!r} (go on from the newest checkpoint) or {_NEVER!r}")
    if checkpoint is not None and not is_templated(checkpoint):
        arguments.text("checkpoint", checkpoint)
        _check_place(checkpoint)


def environment(checkpoint: str | None, resume: str, task: TaskIdentity, pod: str) -> dict[str, str]:
    """What a training's pod is told by its environment.

    Args:
        checkpoint: where the checkpoints of all tasks are, as the pod sees it: a folder, or a URL that fsspec knows
            (``s3://bucket/folder``); None for none.
        resume: ``auto``: every try of a task instance, also after a clear, has the same folder below ``checkpoint``,
            and goes on from what it finds there; ``never``: each try has one of its own.
        pod: name of the try's pod.

    Returns:
        Variables: the task instance's own folders, for checkpoints and for signs of progress.

    Raises:
        InvalidInputError: it is neither an absolute path nor a URL of something that outlives the pod.
    """
    if checkpoint is None:
        return {}
    _check_place(checkpoint)
    own = f"{checkpoint.rstrip('/')}/{task.folder}" + (f"/{pod}" if resume == _NEVER else "")
    return {CHECKPOINTS_VARIABLE: own, PROGRESS_VARIABLE: _PROGRESS if is_url(checkpoint) else f"{own}/progress"}


def _check_place(checkpoint: str) -> None:
    if not is_url(checkpoint):
        if not checkpoint.startswith("/"):
            remedy = "give an absolute path on a volume that outlives the pod, or a URL such as s3://bucket/folder"
            raise InvalidInputError("checkpoint", checkpoint, remedy)
        return
    protocol = checkpoint.partition("://")[0]
    if protocol in _GONE_WITH_POD:
        raise InvalidInputError("checkpoint", checkpoint, "give the path itself, on a volume that outlives the pod")
    if (user := user_with_password(checkpoint)) is not None:
        shown = f"{protocol}://{user}:***@…"
        raise InvalidInputError(
            "checkpoint", shown, "leave the password out; give it by a secret, or a service account"
        )


def claims(checkpoint: str | None) -> dict[str, str]:
    """What the local runtime mounts for checkpoints where the author says nothing.

    Args:
        checkpoint: see ``environment``.

    Returns:
        Claims by path.
    """
    return {checkpoint: CLAIM} if checkpoint is not None and not is_url(checkpoint) else {}


def check_kept(checkpoint: str | None, mounts: Mapping[str, bool], by: str = "volumes, volume_mounts") -> None:
    """Refuse a folder for checkpoints that ends with its pod.

    Args:
        checkpoint: see ``environment``.
        mounts: whether what is mounted outlives the pod, by path.
        by: arguments that mount something.

    Raises:
        InvalidInputError: nothing is mounted there, or nothing that stays.
    """
    if checkpoint is None or is_url(checkpoint):
        return
    below = [path for path in mounts if f"{checkpoint}/".startswith(f"{path.rstrip('/')}/")]
    if not below or not mounts[max(below, key=len)]:
        remedy = f"mount a volume that outlives the pod there ({by}): its checkpoints end with it"
        raise InvalidInputError("checkpoint", checkpoint, remedy)


def mounts(pod: k8s.V1Pod) -> dict[str, bool]:
    """What is mounted in a pod's first container: by path, whether it outlives the pod."""
    passing = {
        volume.name for volume in pod.spec.volumes or [] if volume.empty_dir is not None or volume.ephemeral is not None
    }
    return {mount.mount_path: mount.name not in passing for mount in pod.spec.containers[0].volume_mounts or []}


def launcher(gang: Gang, restarts: int) -> Sequence[str]:
    """The command that starts a node's ranks and restarts them in place, to be followed by the program.

    Args:
        restarts: so often at most.

    Raises:
        InvalidInputError: the job has several nodes, or the number is negative.
    """
    arguments.whole("restarts", restarts, 0)
    if gang.nodes > 1:
        raise InvalidInputError("restarts", restarts, "give 0: ranks on several nodes are restarted by the next try")
    return ("python", "-m", "bulkhead.gpu_tasks.launch", f"--processes={gang.processes}", f"--restarts={restarts}")
