"""Recorded pods that failed: a title, the pod, the class and the kind that it must get.

The statuses have the shape and the texts that Kubernetes 1.28 to 1.34 writes (kubelet, scheduler, controllers) and
that CUDA, PyTorch and container registries print; long ones are shortened.
"""

from typing import Any

from bulkhead.pods.outcome import Failure, FailureClass, Outcome

Pod = dict[str, Any]


def ended(code: int, reason: str = "Error", message: str = "", name: str = "main", **status: Any) -> Pod:
    terminated = {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-11-24T10:00:09Z"}
    containers = [{"name": name, "state": {"terminated": terminated}}]
    return {"status": {"phase": "Failed", "containerStatuses": containers, **status}}


def failed(reason: str, message: str = "") -> Pod:
    return {"status": {"phase": "Failed", "reason": reason, "message": message}}


def disrupted(why: str, said: str = "", **status: Any) -> Pod:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": why, "message": said}
    return ended(143, conditions=[condition], **status)


def waiting(reason: str, message: str = "") -> Pod:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"status": {"phase": "Pending", "containerStatuses": [{"name": "main", "state": state}]}}


def unscheduled(message: str, reason: str = "Unschedulable") -> Pod:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return {"status": {"phase": "Pending", "conditions": [condition]}}


def reported(named: FailureClass, message: str = "", evidence: str = "") -> Pod:
    failure = Failure(failure_class=named, message=message, evidence=evidence, exception="builtins.RuntimeError")
    return ended(1, message=Outcome(failure=failure).encode())


CASES: list[tuple[str, Pod, str, str]] = [
    # the program
    ("exit code 1", ended(1), "application", ""),
    ("exit code 2", ended(2), "application", ""),
    ("segmentation fault", ended(139), "application", "segfault"),
    ("abort", ended(134), "application", "abort"),
    ("bus error", ended(135), "application", "bus-error"),
    ("killed by something else", ended(137), "application", "killed"),
    ("SIGTERM from nobody known", ended(143), "cancelled", "sigterm"),
    ("an exception with an outcome", reported(FailureClass.APPLICATION, "KeyError: 'epochs'"), "application", ""),
    ("the gate", reported(FailureClass.GATE, "accuracy_score is 0.9 on 450 rows, under at_least 0.97"), "gate", ""),
    ("a config error with an outcome", reported(FailureClass.CONFIG, "epochs = 0"), "config", ""),
    ("hung, said by its own watch", reported(FailureClass.HUNG, "rank 3 made no progress for 600 s"), "hung", ""),
    ("preempted, said by its own handler", reported(FailureClass.PREEMPTED, "SIGTERM at step 40"), "preempted", ""),
    ("failed and silent", {"status": {"phase": "Failed"}}, "application", "unknown"),
    ("an init container failed", ended(1, name="fetch"), "application", ""),
    # memory
    ("over its memory limit", ended(137, "OOMKilled"), "host_oom", ""),
    (
        "over its limit although an outcome was left",
        ended(137, "OOMKilled", Outcome(failure=Failure(failure_class=FailureClass.APPLICATION)).encode()),
        "host_oom",
        "",
    ),
    (
        "torch: CUDA out of memory",
        ended(1, message="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total"),
        "gpu_oom",
        "",
    ),
    ("jax", ended(1, message="RESOURCE_EXHAUSTED: CUDA error: out of memory: Failed to allocate"), "gpu_oom", ""),
    ("cuBLAS", ended(1, message="RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "gpu_oom", ""),
    ("GPU OOM in an outcome", reported(FailureClass.GPU_OOM, "CUDA out of memory"), "gpu_oom", ""),
    ("GPU OOM in an unclassed outcome", reported(FailureClass.APPLICATION, "CUDA out of memory"), "gpu_oom", ""),
    # the device, and what only looks like it
    (
        "uncorrectable ECC",
        ended(1, message="RuntimeError: CUDA error: uncorrectable ECC error encountered"),
        "device_fault",
        "ecc",
    ),
    (
        "uncorrectable NVLink",
        ended(1, message="CUDA error: uncorrectable NVLink error detected during the execution"),
        "device_fault",
        "ecc",
    ),
    (
        "unspecified launch failure",
        reported(FailureClass.APPLICATION, "CUDA error: unspecified launch failure"),
        "device_fault",
        "launch-failure",
    ),
    ("fallen off the bus", ended(1, message="GPU 0000:3b:00.0: GPU has fallen off the bus."), "device_fault", "lost"),
    ("lost", ended(1, message="Unable to determine the device handle: GPU is lost. Reboot"), "device_fault", "lost"),
    (
        "no device though one was given",
        ended(1, message="RuntimeError: No CUDA GPUs: no CUDA-capable device is detected"),
        "device_fault",
        "no-device",
    ),
    ("Xid 79", ended(1, message="NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, GPU has"), "device_fault", "xid-79"),
    (
        "Xid 48",
        ended(1, message="NVRM: Xid (PCI:0000:3b:00): 48, An uncorrectable double bit"),
        "device_fault",
        "xid-48",
    ),
    ("Xid 95", ended(1, message="Xid (PCI:0000:3b:00): 95, Uncontained ECC error"), "device_fault", "xid-95"),
    ("Xid 31 is the program's own", ended(1, message="Xid (PCI:0000:3b:00): 31, MMU Fault"), "application", ""),
    ("Xid 13 is the program's own", ended(1, message="Xid (PCI:0000:3b:00): 13, Graphics SM"), "application", ""),
    (
        "a device-side assert is the program's own",
        reported(FailureClass.APPLICATION, "RuntimeError: CUDA error: device-side assert triggered"),
        "application",
        "cuda",
    ),
    (
        "an illegal address is the program's own",
        ended(1, message="RuntimeError: CUDA error: an illegal memory access was encountered"),
        "application",
        "cuda",
    ),
    # the node
    (
        "node lost",
        failed("NodeLost", "Node gpu-7 which was running pod train is unresponsive"),
        "node_lost",
        "unreachable",
    ),
    (
        "garbage-collected with its node",
        disrupted("DeletionByPodGC", "PodGC: node no longer exists"),
        "node_lost",
        "garbage-collected",
    ),
    (
        "taint of an unreachable node",
        disrupted(
            "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint node.kubernetes.io/unreachable"
        ),
        "node_lost",
        "unreachable",
    ),
    (
        "another taint",
        disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint bulkhead.dev/quarantine"),
        "evicted",
        "taint",
    ),
    ("drained", disrupted("EvictionByEvictionAPI", "Eviction API: evicting"), "evicted", "drain"),
    (
        "memory pressure",
        failed("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi."),
        "evicted",
        "memory",
    ),
    (
        "disk pressure",
        failed("Evicted", "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 8Gi."),
        "evicted",
        "disk",
    ),
    ("inodes", failed("Evicted", "The node was low on resource: inodes."), "evicted", "disk"),
    ("pids", failed("Evicted", "The node was low on resource: pids."), "evicted", "pids"),
    (
        "its own disk limit",
        failed("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 10Gi."),
        "evicted",
        "disk-limit",
    ),
    (
        "its own emptyDir's limit",
        failed("Evicted", 'Usage of EmptyDir volume "cache" exceeds the limit "5Gi".'),
        "evicted",
        "disk-limit",
    ),
    (
        "memory pressure by condition",
        disrupted(
            "TerminationByKubelet",
            "The node was low on resource: memory.",
            reason="Evicted",
            message="The node was low on resource: memory.",
        ),
        "evicted",
        "memory",
    ),
    # preempted
    (
        "by the scheduler",
        disrupted("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
        "preempted",
        "scheduler",
    ),
    (
        "graceful node shutdown",
        disrupted(
            "TerminationByKubelet",
            "Pod was terminated in response to imminent node shutdown.",
            reason="Terminated",
            message="Pod was terminated in response to imminent node shutdown.",
        ),
        "preempted",
        "node-shutdown",
    ),
    (
        "node shutdown, without the condition",
        failed("Terminated", "Pod was terminated in"),
        "preempted",
        "node-shutdown",
    ),
    ("node shutting down", failed("NodeShutdown", "Pod was rejected as the node is"), "preempted", "node-shutdown"),
    ("a critical pod", failed("Preempting", "Preempted in order to admit critical pod"), "preempted", "critical-pod"),
    # image
    (
        "no such tag",
        waiting("ErrImagePull", 'failed to resolve reference "repo/train:9": repo/train:9: not found'),
        "image",
        "not-found",
    ),
    ("back-off", waiting("ImagePullBackOff", "Back-off pulling image: manifest unknown"), "image", "not-found"),
    (
        "no permission",
        waiting("ErrImagePull", "pull access denied, repository does not exist or may require authorization"),
        "image",
        "auth",
    ),
    ("401", waiting("ErrImagePull", "unexpected status: 401 Unauthorized"), "image", "auth"),
    (
        "rate limit",
        waiting("ImagePullBackOff", "429 Too Many Requests - toomanyrequests: You have reached your pull rate limit."),
        "image",
        "rate-limit",
    ),
    ("the registry is away", waiting("ErrImagePull", "dial tcp: i/o timeout"), "image", "network"),
    ("never pull", waiting("ErrImageNeverPull", "Container image is not present"), "image", "not-found"),
    (
        "no name",
        waiting("InvalidImageName", "Failed to apply default image tag: couldn't parse"),
        "image",
        "not-found",
    ),
    # config
    ("no such secret", waiting("CreateContainerConfigError", 'secret "hf-token" not found'), "config", "container"),
    ("no such key", waiting("CreateContainerConfigError", "couldn't find key token in Secret"), "config", "container"),
    ("non-root refused", waiting("CreateContainerConfigError", "container has runAsNonRoot"), "config", "container"),
    (
        "no such command",
        waiting("RunContainerError", 'exec: "trian": executable file not found in $PATH'),
        "config",
        "container",
    ),
    ("no such command, ended", ended(128, "StartError", 'exec: "trian": executable file'), "config", "bad-command"),
    ("cannot run", ended(128, "ContainerCannotRun", "no such file or directory"), "config", "bad-command"),
    ("a shell did not find it", ended(127), "config", "bad-command"),
    ("not executable", ended(126), "config", "not-executable"),
    # unschedulable
    (
        "no such GPU free",
        unscheduled("0/5 nodes are available: 2 Insufficient nvidia.com/gpu, 3 node(s) had untolerated taint."),
        "unschedulable",
        "gpu",
    ),
    (
        "no device by DRA",
        unscheduled("0/2 nodes are available: 2 cannot allocate all claims."),
        "unschedulable",
        "gpu",
    ),
    ("no room", unscheduled("0/5 nodes are available: 5 Insufficient memory."), "unschedulable", "room"),
    (
        "taints",
        unscheduled("0/3 nodes are available: 3 node(s) had untolerated taint {dedicated: infra}."),
        "unschedulable",
        "taint",
    ),
    (
        "no node of that product",
        unscheduled("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        "unschedulable",
        "selector",
    ),
    (
        "no volume",
        unscheduled('0/3 nodes are available: persistentvolumeclaim "data" not found.'),
        "unschedulable",
        "volume",
    ),
    (
        "the kubelet had no GPU left",
        failed("OutOfnvidia.com/gpu", "Node didn't have enough"),
        "unschedulable",
        "node-admission",
    ),
    ("the kubelet had no memory left", failed("OutOfmemory"), "unschedulable", "node-admission"),
    (
        "the device plugin refused",
        failed("UnexpectedAdmissionError", "Allocate failed due to requested number of devices unavailable"),
        "unschedulable",
        "node-admission",
    ),
    (
        "a node's label changed",
        failed("NodeAffinity", "Predicate NodeAffinity failed"),
        "unschedulable",
        "node-admission",
    ),
    # the rest
    ("a forbidden sysctl", failed("SysctlForbidden", "forbidden sysctl"), "admission", "kubelet"),
    (
        "its deadline",
        failed("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),
        "deadline",
        "pod",
    ),
    ("cancelled by its runtime", failed("Cancelled", "its task was marked in Airflow"), "cancelled", ""),
    (
        "being deleted",
        {"metadata": {"deletionTimestamp": "2026-11-24T10:00:00Z"}, "status": {"phase": "Running"}},
        "cancelled",
        "",
    ),
]
