"""Bringing a pod to the ``restricted`` Pod Security level, whatever made it; each relaxation has a name.

Source: Kubernetes, Pod Security Standards, "Restricted".
"""

from __future__ import annotations

from typing import Any

from kubernetes import client as k8s

from bulkhead.errors import InvalidInputError
from bulkhead.pods.relaxations import Relaxations

DAY_S = 24 * 3600
"""Deadline of a pod that names none."""


def harden(pod: k8s.V1Pod, relaxed: Relaxations, scratch: tuple[str, ...] = ("/tmp",)) -> k8s.V1Pod:
    """Fill in what the level wants and the author left open; refuse what contradicts it.

    Args:
        relaxed: what this pod may do all the same.
        scratch: paths that stay writable, as emptyDirs, in every container that mounts nothing there.

    Returns:
        The pod.

    Raises:
        InvalidInputError: a field contradicts the level; names the relaxation that would allow it.
    """
    spec = pod.spec
    spec.security_context = spec.security_context or k8s.V1PodSecurityContext()
    own = spec.security_context
    _want(own, "run_as_non_root", True, relaxed.run_as_root, "spec.securityContext", "run_as_root")
    if own.run_as_user == 0 and not relaxed.run_as_root:
        _refuse("spec.securityContext.runAsUser", 0, "a user other than root", "run_as_root=True")
    if own.seccomp_profile is None:
        own.seccomp_profile = k8s.V1SeccompProfile(type="RuntimeDefault")
    elif own.seccomp_profile.type == "Unconfined" and not relaxed.unconfined_seccomp:
        _refuse("spec.securityContext.seccompProfile.type", "Unconfined", "RuntimeDefault", "unconfined_seccomp=True")
    _want(
        spec, "automount_service_account_token", False, relaxed.service_account_token, "spec", "service_account_token"
    )
    for name in ("host_network", "host_pid", "host_ipc"):
        if getattr(spec, name):
            raise InvalidInputError(f"pod.spec.{name}", True, "pods here get no host namespaces; leave it out")
    if spec.active_deadline_seconds is None and not relaxed.no_deadline:
        spec.active_deadline_seconds = DAY_S
    for index, container in enumerate([*(spec.init_containers or []), *spec.containers]):
        _harden_container(container, relaxed, f"container {container.name or index}")
    if not relaxed.writable_root:
        _keep_writable(pod, scratch)
    return pod


def _harden_container(container: k8s.V1Container, relaxed: Relaxations, where: str) -> None:
    container.security_context = container.security_context or k8s.V1SecurityContext()
    own = container.security_context
    if own.privileged:
        raise InvalidInputError(f"{where}.securityContext.privileged", True, "no pod is privileged here; leave it out")
    field = f"{where}.securityContext"
    _want(own, "allow_privilege_escalation", False, relaxed.privilege_escalation, field, "privilege_escalation")
    _want(own, "read_only_root_filesystem", True, relaxed.writable_root, field, "writable_root")
    added = tuple((own.capabilities.add if own.capabilities else None) or ())
    beyond = sorted(set(added) - set(relaxed.capabilities))
    if beyond:
        _refuse(f"{field}.capabilities.add", beyond, "no capability", f"capabilities={tuple(beyond)!r}")
    own.capabilities = k8s.V1Capabilities(drop=["ALL"], add=list(added) or None)


def _want(owner: Any, name: str, required: bool, allowed: bool, where: str, argument: str) -> None:
    value = getattr(owner, name)
    if value is None:
        setattr(owner, name, None if allowed else required)
    elif value != required and not allowed:
        _refuse(f"{where}.{name}", value, repr(required), f"{argument}=True")


def _keep_writable(pod: k8s.V1Pod, scratch: tuple[str, ...]) -> None:
    volumes = pod.spec.volumes = list(pod.spec.volumes or [])
    for index, path in enumerate(scratch):
        name = f"scratch-{index}"
        if all(volume.name != name for volume in volumes):
            volumes.append(k8s.V1Volume(name=name, empty_dir=k8s.V1EmptyDirVolumeSource()))
        for container in [*(pod.spec.init_containers or []), *pod.spec.containers]:
            mounts = container.volume_mounts = list(container.volume_mounts or [])
            if all(mount.mount_path.rstrip("/") != path for mount in mounts):
                mounts.append(k8s.V1VolumeMount(name=name, mount_path=path))


def _refuse(field: str, value: Any, required: str, argument: str) -> None:
    raise InvalidInputError(
        f"pod.{field}",
        value,
        f"the restricted Pod Security level wants {required}; pass {argument} if this pod needs it",
    )
