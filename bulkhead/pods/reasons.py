"""The rules behind ``bulkhead.pods.failure``: each reads one kind of evidence and names it, or says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bulkhead.pods.device_texts import device, of_node
from bulkhead.pods.image_texts import of_image
from bulkhead.pods.outcome import Failure, FailureClass

KERNEL = {"OOMKilled", "StartError", "ContainerCannotRun", "ContainerStatusUnknown", "Unknown"}
"""Reasons of a terminated container that the container itself cannot know."""

LOST = {"ContainerStatusUnknown", "Unknown"}
"""Reasons with which a kubelet or a container runtime says that it does not know how a container ended."""

_C = FailureClass

_DISRUPTIONS = {
    "PreemptionByScheduler": (_C.PREEMPTED, "scheduler"),
    "PreemptionByKubeScheduler": (_C.PREEMPTED, "scheduler"),
    "DeletionByTaintManager": (_C.EVICTED, "taint"),
    "DeletionByDeviceTaintManager": (_C.EVICTED, "device-taint"),
    "EvictionByEvictionAPI": (_C.EVICTED, "drain"),
    "DeletionByPodGC": (_C.NODE_LOST, "garbage-collected"),
}
_UNREACHABLE = re.compile(r"node\.kubernetes\.io/(unreachable|not-ready|out-of-service)")
# Not a bare "spot": a container, a volume or a node may be called so.
_SHUTDOWN = re.compile(
    r"node (is|was) (shutting|shut) ?down|node shutdown|imminent node shutdown|"
    r"\bspot (instance|vm|interruption|termination|reclaim)|preemptible (instance|vm|node)|(instance|vm|node) (is|was) "
    r"(being )?preempted",
    re.I,
)
_USER_NAMES = re.compile(r"\b(container|pod|volume|claim|node) \"?[a-z0-9][\w.-]*-[\w.-]*\"?", re.I)

# Kueue, "Workload": why a workload was evicted is the reason of its pods' condition TerminationTarget.
_KUEUE = (
    (re.compile("MaximumExecutionTime"), (_C.DEADLINE, "kueue")),
    (re.compile("Deactivat"), (_C.CANCELLED, "kueue")),
)

_POD_REASONS = {
    "OOMKilled": (_C.HOST_OOM, ""),
    "StartError": (_C.CONFIG, "bad-command"),
    "NodeLost": (_C.NODE_LOST, "unreachable"),
    "NodeShutdown": (_C.PREEMPTED, "node-shutdown"),
    "Shutdown": (_C.PREEMPTED, "node-shutdown"),
    "Terminated": (_C.PREEMPTED, "node-shutdown"),
    "Preempting": (_C.PREEMPTED, "critical-pod"),
    "DeadlineExceeded": (_C.DEADLINE, "pod"),
    "Cancelled": (_C.CANCELLED, ""),
    "NodeAffinity": (_C.UNSCHEDULABLE, "node-admission"),
    "MatchNodeSelector": (_C.UNSCHEDULABLE, "node-admission"),
    "NodeName": (_C.UNSCHEDULABLE, "node-admission"),
    "NodePorts": (_C.UNSCHEDULABLE, "node-admission"),
    "NodeUnschedulable": (_C.UNSCHEDULABLE, "node-admission"),
    "TaintToleration": (_C.UNSCHEDULABLE, "node-admission"),
    "InvalidNodeInfo": (_C.UNSCHEDULABLE, "node-admission"),
    "UnknownReason": (_C.UNSCHEDULABLE, "node-admission"),
    "TopologyAffinityError": (_C.UNSCHEDULABLE, "node-admission"),
    "UnexpectedAdmissionError": (_C.UNSCHEDULABLE, "node-admission"),
    "PodOSSelectorNodeLabelDoesNotMatch": (_C.UNSCHEDULABLE, "node-admission"),
    "PodOSNotSupported": (_C.UNSCHEDULABLE, "node-admission"),
    "SupplementalGroupsPolicyNotSupported": (_C.ADMISSION, "kubelet"),
    "PodLevelResourcesNotAdmittedReason": (_C.ADMISSION, "kubelet"),
    "SysctlForbidden": (_C.ADMISSION, "kubelet"),
    "AppArmor": (_C.ADMISSION, "kubelet"),
}
# pkg/kubelet/lifecycle/predicate.go: a refusal by a predicate that has no name above.
_REFUSED = re.compile(r"^(Pod )?(was rejected|Predicate |GeneralPredicates )", re.I)
_EVICTED = (
    (re.compile(r"low on resource: memory|memory ?pressure", re.I), "memory"),
    (
        re.compile(r"low on resource: (ephemeral-storage|inodes|imagefs|nodefs|containerfs)|disk ?pressure", re.I),
        "disk",
    ),
    (
        re.compile(
            r"ephemeral(-| local )storage usage exceeds|exceeded its local ephemeral storage limit|"
            r"usage of emptydir volume .* exceeds",
            re.I,
        ),
        "disk-limit",
    ),
    (re.compile(r"low on resource: pids|pid ?pressure", re.I), "pids"),
)

_VICTIM = re.compile(
    r"connection (closed|reset) by peer|broken pipe|ncclRemoteError|remote process exited|"
    r"ncclSystemError(?!.{0,400}(shared memory|No space left)).*socket|DistNetworkError|DistStoreError|"
    r"recvValue failed|client socket has (timed out|failed)|watchdog (got stuck|caught collective operation timeout)|"
    r"monitoredBarrier|Rendezvous\w*(Closed|Timeout|Connection)\w*Error|SignalException|terminated by signal|"
    r"signal 15|\bSIGTERM\b",
    re.I | re.S,
)

_EXIT_CODES = {
    126: (_C.CONFIG, "not-executable", "the command cannot be executed"),
    127: (_C.CONFIG, "bad-command", "the command was not found"),
    134: (_C.APPLICATION, "abort", "it aborted (SIGABRT)"),
    135: (_C.APPLICATION, "bus-error", "bus error (SIGBUS): often a full /dev/shm"),
    137: (_C.APPLICATION, "killed", "it was killed (SIGKILL) by something other than its own memory limit"),
    139: (_C.APPLICATION, "segfault", "segmentation fault (SIGSEGV)"),
    143: (_C.CANCELLED, "sigterm", "it was asked to end (SIGTERM)"),
}

_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"}
# The node's container runtime could not, for reasons of its own: the author can change nothing, another node can.
_RUNTIME = re.compile(
    r"context deadline exceeded|failed to reserve container name|no space left on device|transport is closing|"
    r"connection refused|error reading from server|timed out waiting for the condition|"
    r"failed to sync (secret|configmap) cache|device or resource busy|too many open files|cannot allocate memory",
    re.I,
)

_NO_GPU = re.compile(r"Insufficient (nvidia\.com/\S+)|cannot allocate all claims|resourceclaim|device class", re.I)
_NO_ROOM = re.compile(r"Insufficient (cpu|memory|ephemeral-storage|pods|hugepages\S*)|no nodes available", re.I)
_NO_NODE = re.compile(r"didn't match Pod's node (affinity/selector|affinity)|node selector", re.I)
_TAINTED = re.compile(r"untolerated taint", re.I)
_NO_VOLUME = re.compile(
    r"persistentvolumeclaim .* not found|unbound immediate PersistentVolumeClaims|volume node affinity", re.I
)

_SCALES = {"TriggeredScaleUp", "Nominated", "WaitForFirstConsumer", "Provisioning", "ExternalProvisioning"}
"""Reasons of events with which an autoscaler or a provisioner says that it is at work."""


def disruption(status: Mapping[str, Any]) -> Failure | None:
    """The conditions ``DisruptionTarget`` and ``TerminationTarget``: something other than the program ended the pod."""
    condition = _condition(status, "DisruptionTarget")
    if condition is None or condition.get("status") != "True":
        return _by_kueue(status)
    reason, message = str(condition.get("reason")), str(condition.get("message") or "")
    evicted = _evicted(f"{message}\n{status.get('message') or ''}") if reason == "TerminationByKubelet" else None
    if reason == "TerminationByKubelet":
        named, kind = (_C.EVICTED, evicted) if evicted else (_C.PREEMPTED, "node-shutdown")
    else:
        named, kind = _DISRUPTIONS.get(reason, (_C.PREEMPTED, reason))
    if named is _C.EVICTED and _UNREACHABLE.search(message):
        named, kind = _C.NODE_LOST, "unreachable"
    elif not evicted and _SHUTDOWN.search(_USER_NAMES.sub("", message)):
        named, kind = _C.PREEMPTED, "node-shutdown"
    return Failure.named(named, kind, message or reason, reason)


def _by_kueue(status: Mapping[str, Any]) -> Failure | None:
    condition = _condition(status, "TerminationTarget")
    if condition is None or condition.get("status") != "True":
        return None
    reason, message = str(condition.get("reason")), str(condition.get("message") or "")
    named, kind = next((named_as for pattern, named_as in _KUEUE if pattern.search(reason)), (_C.PREEMPTED, "kueue"))
    return Failure.named(named, kind, message or reason, reason)


def pod_reason(status: Mapping[str, Any]) -> Failure | None:
    """The pod's own reason, as the kubelet or a controller wrote it."""
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    if reason == "Evicted":
        return Failure.named(_C.EVICTED, _evicted(message) or "unknown", message, reason)
    if reason == "UnexpectedAdmissionError" and (fault := of_node(message)) is not None:
        return Failure.named(*fault, message, reason)
    if reason.startswith("OutOf"):
        return Failure.named(_C.UNSCHEDULABLE, "node-admission", message or reason, reason)
    if reason in _POD_REASONS:
        named, kind = _POD_REASONS[reason]
        return Failure.named(named, kind, message or reason, reason)
    if reason and _REFUSED.search(message) and not status.get("containerStatuses"):
        return Failure.named(_C.UNSCHEDULABLE, "node-admission", message, reason)
    return None


def exit_code(container: str, terminated: Mapping[str, Any]) -> Failure:
    """The end of a container that reported nothing.

    Args:
        terminated: its ``state.terminated``, with an exit code other than 0.
    """
    code, reason = int(terminated["exitCode"]), str(terminated.get("reason") or "")
    text = str(terminated.get("message") or "")
    if reason == "OOMKilled":
        return Failure.named(_C.HOST_OOM, "", f"container {container} was over its memory limit", text or reason)
    if reason in LOST:
        lost = f"container {container}: how it ended is not known: its node was lost or restarted"
        return Failure.named(_C.NODE_LOST, "unknown-end", text or lost, reason)
    if reason in KERNEL:
        named, kind = _not_started(text) or (_C.CONFIG, "bad-command")
        return Failure.named(named, kind, text or f"container {container} could not be started", reason)
    named_device = device(text)
    if named_device is not None:
        return Failure.named(*named_device, f"container {container} ended with exit code {code}", text)
    named, kind, words = _EXIT_CODES.get(code, (_C.APPLICATION, "", f"exit code {code}"))
    return Failure.named(named, kind, f"container {container}: {words}", text or reason)


def is_victim(failure: Failure) -> bool:
    """Whether a rank says only that it has lost another one."""
    if failure.failure_class is not _C.APPLICATION:
        return False
    return bool(_VICTIM.search(f"{failure.exception} {failure.message} {failure.evidence}"))


def waiting(container: str, state: Mapping[str, Any]) -> Failure | None:
    """A container that waits for what will not come by itself.

    Args:
        state: its ``state.waiting``.
    """
    reason, message = str(state.get("reason") or ""), str(state.get("message") or "")
    kind = of_image(reason, message)
    if kind is not None:
        return Failure.named(_C.IMAGE, kind, message or f"container {container}: {reason}", reason)
    if reason in _CONFIG_REASONS:
        named, what = _not_started(message) or (_C.CONFIG, "container")
        return Failure.named(named, what, message or f"container {container}: {reason}", reason)
    return None


def _not_started(text: str) -> tuple[FailureClass, str] | None:
    """Why a node could not start a container, where that is the node's own affair."""
    node_failure = of_node(text)
    if node_failure is not None:
        return node_failure
    return (_C.CONFIG, "runtime") if _RUNTIME.search(text) else None


def scheduling(status: Mapping[str, Any], recorded: Iterable[Mapping[str, Any]]) -> Failure | None:
    """Why no node takes the pod. A scheduling gate (Kueue) is no failure: it waits for its turn."""
    condition = _condition(status, "PodScheduled")
    if condition is None or condition.get("reason") != "Unschedulable":
        return None
    message = str(condition.get("message") or "")
    if any(event.get("reason") in _SCALES for event in recorded):
        return None
    rules = ((_NO_GPU, "gpu"), (_NO_VOLUME, "volume"), (_NO_ROOM, "room"), (_TAINTED, "taint"), (_NO_NODE, "selector"))
    kind = next((kind for pattern, kind in rules if pattern.search(message)), "unknown")
    return Failure.named(_C.UNSCHEDULABLE, kind, message or "no node takes the pod", "Unschedulable")


def _evicted(message: str) -> str | None:
    return next((kind for pattern, kind in _EVICTED if pattern.search(message)), None)


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    conditions: Iterable[Mapping[str, Any]] = status.get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), None)
