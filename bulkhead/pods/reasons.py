"""The rules behind ``bulkhead.pods.failure``: each reads one kind of evidence and names it, or says nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bulkhead.pods.outcome import Failure, FailureClass

KERNEL = {"OOMKilled", "StartError", "ContainerCannotRun"}
"""Reasons of a terminated container that the container itself cannot know."""

_C = FailureClass
_EVIDENCE = 1000

_DISRUPTIONS = {
    "PreemptionByScheduler": (_C.PREEMPTED, "scheduler"),
    "DeletionByTaintManager": (_C.EVICTED, "taint"),
    "EvictionByEvictionAPI": (_C.EVICTED, "drain"),
    "DeletionByPodGC": (_C.NODE_LOST, "garbage-collected"),
}
_UNREACHABLE = re.compile(r"node\.kubernetes\.io/(unreachable|not-ready|out-of-service)")
_SHUTDOWN = re.compile(
    r"node (is|was) (shutting|shut) ?down|node shutdown|imminent node shutdown|spot|preemptible", re.I
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
    "NodePorts": (_C.UNSCHEDULABLE, "node-admission"),
    "TopologyAffinityError": (_C.UNSCHEDULABLE, "node-admission"),
    "UnexpectedAdmissionError": (_C.UNSCHEDULABLE, "node-admission"),
    "SysctlForbidden": (_C.ADMISSION, "kubelet"),
    "AppArmor": (_C.ADMISSION, "kubelet"),
}
_EVICTED = (
    (re.compile(r"low on resource: memory|memory pressure", re.I), "memory"),
    (re.compile(r"low on resource: (ephemeral-storage|inodes|imagefs|nodefs)|disk pressure", re.I), "disk"),
    (re.compile(r"ephemeral(-| local )storage usage exceeds|usage of emptydir volume .* exceeds", re.I), "disk-limit"),
    (re.compile(r"low on resource: pids|pid pressure", re.I), "pids"),
)

_DEVICE = (
    (re.compile(r"\bXid\b(?: \(PCI:[^)]*\))?[:,\s]+(\d+)"), None),
    (re.compile(r"uncorrectable (ECC|NVLink)|cudaErrorECCUncorrectable|hardware stack error", re.I), "ecc"),
    (re.compile(r"GPU is lost|fallen off the bus|NVML_ERROR_GPU_IS_LOST|cudaErrorDevicesUnavailable", re.I), "lost"),
    (re.compile(r"CUDA error: (unspecified launch failure|unknown error)|cudaErrorLaunchFailure"), "launch-failure"),
    (re.compile(r"no CUDA-capable device|CUDA driver initialization failed|system not yet initialized"), "no-device"),
)
# Xids that are in the main the application's own fault (shared facts, gpu-health): not the device's.
_APPLICATION_XIDS = {11, 13, 25, 31, 32, 43, 45, 69, 80}
_APPLICATION_CUDA = re.compile(
    r"device-side assert|illegal memory access|misaligned address|out of bounds|invalid argument"
)
_GPU_OOM = re.compile(r"(CUDA|HIP|GPU|NCCL).{0,20}out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED", re.I)

_VICTIM = re.compile(
    r"connection (closed|reset) by peer|broken pipe|ncclRemoteError|remote process exited|"
    r"ncclSystemError.*socket|DistNetworkError|DistStoreError|recvValue failed|"
    r"client socket has (timed out|failed)|watchdog got stuck|SignalException|terminated by signal|"
    r"signal 15|\bSIGTERM\b",
    re.I,
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

_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
_IMAGE = (
    (re.compile(r"toomanyrequests|rate limit|429", re.I), "rate-limit"),
    (
        re.compile(r"unauthorized|authentication required|denied|authorization failed|403|401|no basic auth", re.I),
        "auth",
    ),
    (
        re.compile(r"not found|manifest unknown|does not exist|404|invalid reference|couldn't parse|not present", re.I),
        "not-found",
    ),
)
_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"}

_NO_GPU = re.compile(r"Insufficient (nvidia\.com/\S+)|cannot allocate all claims|resourceclaim|device class", re.I)
_NO_ROOM = re.compile(r"Insufficient (cpu|memory|ephemeral-storage|pods|hugepages\S*)|no nodes available", re.I)
_NO_NODE = re.compile(r"didn't match Pod's node (affinity/selector|affinity)|node selector", re.I)
_TAINTED = re.compile(r"untolerated taint", re.I)
_NO_VOLUME = re.compile(
    r"persistentvolumeclaim .* not found|unbound immediate PersistentVolumeClaims|volume node affinity", re.I
)

_EVENTS = {
    "FailedMount": (_C.CONFIG, "volume"),
    "FailedAttachVolume": (_C.CONFIG, "volume"),
    "FailedCreatePodSandBox": (_C.CONFIG, "sandbox"),
}


def disruption(status: Mapping[str, Any]) -> Failure | None:
    """The ``DisruptionTarget`` condition: something other than the pod's own program ended it.

    Args:
        status: of the pod.
    """
    condition = _condition(status, "DisruptionTarget")
    if condition is None or condition.get("status") != "True":
        return None
    reason, message = str(condition.get("reason")), str(condition.get("message") or "")
    if reason == "TerminationByKubelet":
        evicted = _evicted(f"{message}\n{status.get('message') or ''}")
        named, kind = (_C.EVICTED, evicted) if evicted else (_C.PREEMPTED, "node-shutdown")
    else:
        named, kind = _DISRUPTIONS.get(reason, (_C.PREEMPTED, reason))
    if named is _C.EVICTED and _UNREACHABLE.search(message):
        named, kind = _C.NODE_LOST, "unreachable"
    elif _SHUTDOWN.search(message):
        named, kind = _C.PREEMPTED, "node-shutdown"
    return _failure(named, kind, message or reason, reason)


def pod_reason(status: Mapping[str, Any]) -> Failure | None:
    """The pod's own reason, as the kubelet or a controller wrote it.

    Args:
        status: of the pod.
    """
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    if reason == "Evicted":
        return _failure(_C.EVICTED, _evicted(message) or "unknown", message, reason)
    if reason.startswith("OutOf"):
        return _failure(_C.UNSCHEDULABLE, "node-admission", message or reason, reason)
    if reason in _POD_REASONS:
        named, kind = _POD_REASONS[reason]
        return _failure(named, kind, message or reason, reason)
    return None


def exit_code(container: str, terminated: Mapping[str, Any]) -> Failure:
    """The end of a container that reported nothing.

    Args:
        container: its name.
        terminated: its ``state.terminated``, with an exit code other than 0.
    """
    code, reason = int(terminated["exitCode"]), str(terminated.get("reason") or "")
    text = str(terminated.get("message") or "")
    if reason == "OOMKilled":
        return _failure(_C.HOST_OOM, "", f"container {container} was over its memory limit", text or reason)
    if reason in KERNEL:
        return _failure(_C.CONFIG, "bad-command", text or f"container {container} could not be started", reason)
    named_device = device(text)
    if named_device is not None:
        return _failure(*named_device, f"container {container} ended with exit code {code}", text)
    named, kind, words = _EXIT_CODES.get(code, (_C.APPLICATION, "", f"exit code {code}"))
    return _failure(named, kind, f"container {container}: {words}", text or reason)


def device(text: str) -> tuple[FailureClass, str] | None:
    """What an error text says of the GPU: the device's fault, the program's memory, or nothing.

    Args:
        text: of an exception, a traceback, the end of a log.

    Returns:
        Class and kind; None where the text says nothing of a device, or says that the program is at fault.
    """
    if _GPU_OOM.search(text):
        return _C.GPU_OOM, ""
    for pattern, kind in _DEVICE:
        match = pattern.search(text)
        if match is None:
            continue
        if kind is not None:
            return _C.DEVICE_FAULT, kind
        if int(match[1]) not in _APPLICATION_XIDS:
            return _C.DEVICE_FAULT, f"xid-{match[1]}"
    return (_C.APPLICATION, "cuda") if _APPLICATION_CUDA.search(text) else None


def is_victim(failure: Failure) -> bool:
    """Whether a rank says only that it has lost another one.

    Args:
        failure: that it left.
    """
    if failure.failure_class is not _C.APPLICATION:
        return False
    return bool(_VICTIM.search(f"{failure.exception} {failure.message} {failure.evidence}"))


def waiting(container: str, state: Mapping[str, Any]) -> Failure | None:
    """A container that waits for what will not come by itself.

    Args:
        container: its name.
        state: its ``state.waiting``.
    """
    reason, message = str(state.get("reason") or ""), str(state.get("message") or "")
    if reason in _IMAGE_REASONS:
        kind = next((kind for pattern, kind in _IMAGE if pattern.search(f"{reason} {message}")), None)
        if reason in ("ErrImageNeverPull", "InvalidImageName"):
            kind = "not-found"
        return _failure(_C.IMAGE, kind or "network", message or f"container {container}: {reason}", reason)
    if reason in _CONFIG_REASONS:
        return _failure(_C.CONFIG, "container", message or f"container {container}: {reason}", reason)
    return None


def scheduling(status: Mapping[str, Any], recorded: Iterable[Mapping[str, Any]]) -> Failure | None:
    """Why no node takes the pod. A scheduling gate (Kueue) is no failure: it waits for its turn.

    Args:
        status: of the pod.
        recorded: events about it.
    """
    condition = _condition(status, "PodScheduled")
    if condition is None or condition.get("reason") != "Unschedulable":
        return None
    message = str(condition.get("message") or "")
    waits = any(event.get("reason") == "TriggeredScaleUp" for event in recorded)
    if waits:
        return None
    rules = ((_NO_GPU, "gpu"), (_NO_VOLUME, "volume"), (_NO_ROOM, "room"), (_TAINTED, "taint"), (_NO_NODE, "selector"))
    kind = next((kind for pattern, kind in rules if pattern.search(message)), "unknown")
    return _failure(_C.UNSCHEDULABLE, kind, message or "no node takes the pod", "Unschedulable")


def events(recorded: Iterable[Mapping[str, Any]]) -> Failure | None:
    """What only an event says: a volume that cannot be mounted, a sandbox that cannot be made.

    Args:
        recorded: events about the pod; one counts once it has come up at least three times.
    """
    for event in recorded:
        found = _EVENTS.get(str(event.get("reason")))
        if found is not None and int(event.get("count") or 1) >= 3:
            return _failure(*found, str(event.get("message") or event["reason"]), str(event["reason"]))
    return None


def _evicted(message: str) -> str | None:
    return next((kind for pattern, kind in _EVICTED if pattern.search(message)), None)


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    found: Iterable[Mapping[str, Any]] = status.get("conditions") or []
    return next((one for one in found if one.get("type") == kind), None)


def _failure(named: FailureClass, kind: str, message: str, evidence: str) -> Failure:
    return Failure(failure_class=named, kind=kind, message=message[:_EVIDENCE], evidence=evidence[-_EVIDENCE:])
