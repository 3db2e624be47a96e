"""What the local runtime cannot do is refused here, before anything starts. Nothing is silently ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bulkhead.errors import UnsupportedError

_CONTAINER_KEYS = {
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "workingDir",
    "resources",
    "volumeMounts",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "readinessProbe",
    "ports",
    "securityContext",
}
_POD_KEYS = {
    "containers",
    "volumes",
    "restartPolicy",
    "activeDeadlineSeconds",
    "terminationGracePeriodSeconds",
    "automountServiceAccountToken",
    "securityContext",
    "enableServiceLinks",
}
_RESOURCES = {"cpu", "memory", "nvidia.com/gpu"}


def check(pod: Mapping[str, Any]) -> None:
    """Refuse a pod that this runtime could not run as written.

    Args:
        pod: a pod in its JSON form.

    Raises:
        UnsupportedError: names the field, its value, and what to do instead.
    """
    spec = pod["spec"]
    for key in sorted(set(spec) - _POD_KEYS):
        _refuse(f"spec.{key}", spec[key], "the local runtime does not support this field; use Kubernetes for it")
    if len(spec["containers"]) != 1:
        names = [container.get("name") for container in spec["containers"]]
        _refuse("spec.containers", names, "the local runtime runs exactly one container; use Kubernetes for more")
    if spec.get("restartPolicy") != "Never":
        _refuse("spec.restartPolicy", spec.get("restartPolicy"), "set 'Never': who restarts a pod is its owner")
    for index, volume in enumerate(spec.get("volumes") or []):
        kind = sorted(set(volume) - {"name"})
        if kind not in (["emptyDir"], ["persistentVolumeClaim"]):
            _refuse(f"spec.volumes[{index}]", kind, "the local runtime offers emptyDir and persistentVolumeClaim")
        claim = volume.get("persistentVolumeClaim", {"claimName": "none"}).get("claimName", "")
        if not claim or "/" in claim or claim.startswith("."):
            _refuse(f"spec.volumes[{index}].claimName", claim, "give a name, not a path")
    _check_container(spec["containers"][0])


def _check_container(container: Mapping[str, Any]) -> None:
    where = "spec.containers[0]"
    for key in sorted(set(container) - _CONTAINER_KEYS):
        _refuse(f"{where}.{key}", container[key], "the local runtime does not support this field")
    if not container.get("command"):
        _refuse(f"{where}.command", None, "give the command: there is no image here whose entrypoint could run")
    for index, variable in enumerate(container.get("env") or []):
        source = variable.get("valueFrom") or {}
        if set(source) - {"secretKeyRef"}:
            _refuse(f"{where}.env[{index}].valueFrom", sorted(source), "use a value or a secretKeyRef")
    probe = container.get("readinessProbe") or {"httpGet": {}}
    if "httpGet" not in probe:
        _refuse(f"{where}.readinessProbe", sorted(probe), "use httpGet")
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for name in sorted(set(resources.get(kind) or {}) - _RESOURCES):
            _refuse(f"{where}.resources.{kind}", name, f"the local runtime offers {sorted(_RESOURCES)}")
    for index, mount in enumerate(container.get("volumeMounts") or []):
        for key in sorted(set(mount) - {"name", "mountPath"}):
            _refuse(f"{where}.volumeMounts[{index}].{key}", mount[key], "mount the whole volume, read-write")


def _refuse(field: str, value: Any, remedy: str) -> None:
    raise UnsupportedError(f"pod.{field}", value, remedy)
