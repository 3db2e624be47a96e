"""From a container's spec to a process: argv, environment, working directory, volumes, limits."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bulkhead.files import make_private
from bulkhead.runtimes.local.layout import PodFiles
from bulkhead.runtimes.local.limits import ProcessLimits

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class StartError(Exception):
    """The container could not be started; the text says what and why."""


def start(
    pod: Mapping[str, Any], files: PodFiles, limits: ProcessLimits, temporary: str, extra_env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the pod's container in a process group of its own, its output on a pipe.

    There is no mount namespace here: a mount path (and the termination message path) is mapped, wherever it
    begins a word of the command, an argument, a variable's value or the working directory, to a folder of
    the pod.

    Args:
        pod: the pod in its JSON form.
        limits: entered by the child before it runs the command.
        temporary: its folder for temporary files; the supervisor removes it.
        extra_env: variables of the runtime (devices).

    Returns:
        The running process.

    Raises:
        StartError: a secret, the working directory or the program is missing.
    """
    spec = pod["spec"]["containers"][0]
    paths = _paths(pod["spec"], files)
    environment = {**_base_environment(files), "TMPDIR": temporary, **extra_env}
    for variable in spec.get("env") or []:
        environment[variable["name"]] = _map(_value(variable, files, environment), paths)
    words = [*spec["command"], *(spec.get("args") or [])]
    argv = [_map(_expand(word, environment), paths) for word in words]
    working = _map(spec["workingDir"], paths) if spec.get("workingDir") else str(files.folder)

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no container outlives its supervisor
        limits.enter()

    try:
        return subprocess.Popen(
            argv,
            env=environment,
            cwd=working,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise StartError(f"cannot start {argv[0]!r} in {working!r}: {error}") from error


def become_subreaper() -> None:
    """Make orphaned grandchildren become children of this process, so that it can end them too."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int) -> None:
    """Linux' prctl(2).

    Raises:
        OSError: if the kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def children() -> list[int]:
    """Process ids of this process' children, adopted ones included."""
    own = os.getpid()
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended between the listing and the reading
            continue
        if int(fields[1]) == own:
            pids.append(int(entry.name))
    return pids


def _base_environment(files: PodFiles) -> dict[str, str]:
    """A container's environment is its spec's, not its launcher's: nothing secret leaks in from Airflow's."""
    binaries = str(Path(sys.executable).parent)
    return {
        "PATH": f"{binaries}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(files.folder),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "HOSTNAME": files.pod_id,
    }


def _paths(pod: Mapping[str, Any], files: PodFiles) -> dict[str, str]:
    spec = pod["containers"][0]
    claims = {
        volume["name"]: volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod.get("volumes") or []
    }
    paths = {spec.get("terminationMessagePath") or "/dev/termination-log": str(files.termination_log)}
    for mount in spec.get("volumeMounts") or []:
        claim = claims.get(mount["name"])
        folder = files.layout.claims / claim if claim else files.folder / "volumes" / mount["name"]
        make_private(folder)
        paths[mount["mountPath"].rstrip("/")] = str(folder)
    return paths


def _map(text: str, paths: Mapping[str, str]) -> str:
    for path in sorted(paths, key=len, reverse=True):
        if text == path or text.startswith(path + "/"):
            return paths[path] + text[len(path) :]
    return text


def _expand(text: str, environment: Mapping[str, str]) -> str:
    """``$(NAME)`` by the variable's value, as Kubernetes has it: ``$$`` is a dollar, what is unknown stays."""
    return _REFERENCE.sub(
        lambda reference: "$" if reference[0] == "$$" else environment.get(reference[1], reference[0]), text
    )


def _value(variable: Mapping[str, Any], files: PodFiles, environment: Mapping[str, str]) -> str:
    reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
    if reference is None:
        return _expand(str(variable.get("value") or ""), environment)
    path: Path = files.layout.secrets / reference["name"] / reference["key"]
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StartError(
            f"env {variable['name']}: no secret {reference['name']!r} with key {reference['key']!r}: "
            f"write it to {path} ({error.strerror})"
        ) from error
