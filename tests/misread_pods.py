"""Recorded pods that were misread once, each with what only sounds like it; as in ``failed_pods``.

From public reports (Kubernetes, Kueue, NVIDIA's container toolkit, device plugin and drivers, PyTorch, NCCL, JAX,
containerd), rewritten and shortened.
"""

from tests.failed_pods import Pod, disrupted, ended, failed, waiting

CASES: list[tuple[str, Pod, str, str]] = [
    # the node's driver, container toolkit and container runtime
    *(
        (f"the node could not start it: {text}", waiting("RunContainerError", text), named, kind)
        for text, named, kind in (
            (
                "nvidia-container-cli: device error: GPU-1a2b3c4d: unknown device: unknown",
                "device_fault",
                "container-toolkit",
            ),
            (
                "stderr: nvidia-container-cli: initialization error: nvml error: driver not loaded",
                "device_fault",
                "no-device",
            ),
            (
                "failed to inject CDI devices: unresolvable CDI devices nvidia.com/gpu=3",
                "device_fault",
                "container-toolkit",
            ),
            ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8", "config", "driver"),
            ("context deadline exceeded", "config", "runtime"),
            ("write /run/containerd/x: no space left on device", "config", "runtime"),
            ('exec: "nvidia-smi": executable file not found in $PATH', "config", "container"),
        )
    ),
    (
        "a secret that is late",
        waiting("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"),
        "config",
        "runtime",
    ),
    (
        "driver and library do not match",
        ended(
            128, "StartError", "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch"
        ),
        "device_fault",
        "no-device",
    ),
    (
        "the device plugin lost a GPU",
        failed(
            "UnexpectedAdmissionError",
            "Pod Allocate failed due to device plugin: error creating nvml.Device 5: nvml: GPU is lost",
        ),
        "device_fault",
        "lost",
    ),
    # the device, in others' words
    *(
        (f"the device: {text}", ended(1, message=text), "device_fault", kind)
        for text, kind in (
            ("RuntimeError: No CUDA GPUs are available", "no-device"),
            ("torch.AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable", "lost"),
            (
                "ncclUnhandledCudaError: Call to CUDA function failed. Last error: Cuda failure 719 'unspecified launch failure'",
                "launch-failure",
            ),
            (
                "ncclUnhandledCudaError: Call to CUDA function failed. Last error: Cuda failure 'unspecified launch failure'",
                "launch-failure",
            ),
            (
                "cudaGetDeviceCount(). Error 803: system has unsupported display driver / cuda driver combination",
                "no-device",
            ),
            ("XlaRuntimeError: INTERNAL: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure", "launch-failure"),
            ("RuntimeError: Failed to initialize NVML: Unknown Error", "no-device"),
            (
                "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment",
                "launch-failure",
            ),
            ("NVRM: Xid (PCI:0000:3b:00): 31, MMU Fault\nNVRM: Xid (PCI:0000:3b:00): 48, DBE", "xid-48"),
            ("NVRM: Xid (PCI:0000:dc:00): 45, pid=1, Ch 00000001 caused by previous Xid 149", "xid-149"),
            (
                "NVRM: Xid (PCI:0000:dc:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (OS Reboot)",
                "xid-154",
            ),
        )
    ),
    # what only sounds like it: the program's own
    *(
        (f"the program: {text}", ended(1, message=text), "application", "")
        for text in (
            "IndexError: index 7 is out of bounds for axis 0 with size 5",
            "ValueError: invalid argument: epochs",
            "ValueError: x\nNVRM: Xid (PCI:0000:3b:00): 63, pid=1, Row Remapper: New row marked for remapping",
            "NVRM: Xid (PCI:0000:3b:00): 45, pid=1, Ch 00000001",
            "NVRM: Xid (PCI:0000:3b:00): 145, RLW_RXPIPE Nonfatal XC0 i0 Link 13 (0x0409a0c2)",
            "py4j.protocol.Py4JJavaError: java.lang.OutOfMemoryError: Java heap space",
            "FileNotFoundError: no such file: /data/gpu-is-fine.csv",
        )
    ),
    *(
        (f"out of GPU memory: {text}", ended(1, message=text), "gpu_oom", "")
        for text in (
            "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 7406166528 bytes.",
            "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
            "ResourceExhaustedError: OOM when allocating tensor with shape[64,1024] on /job:localhost/device:GPU:0",
            "RuntimeError: CUDNN_STATUS_ALLOC_FAILED",
        )
    ),
    # the node lost it
    (
        "the kubelet does not know its end",
        ended(137, "ContainerStatusUnknown", "The container could not be located"),
        "node_lost",
        "unknown-end",
    ),
    ("the container runtime does not know its end", ended(255, "Unknown"), "node_lost", "unknown-end"),
    # evictions, in their other wordings
    (
        "over its own disk limit",
        failed("Evicted", 'Container base exceeded its local ephemeral storage limit "10Gi". '),
        "evicted",
        "disk-limit",
    ),
    (
        "evicted at admission: disk",
        failed("Evicted", "Pod The node had condition: [DiskPressure]. "),
        "evicted",
        "disk",
    ),
    ("evicted at admission: pids", failed("Evicted", "The node had condition: [PIDPressure]. "), "evicted", "pids"),
    (
        "evicted at admission: memory",
        failed("Evicted", "The node had condition: [MemoryPressure]. "),
        "evicted",
        "memory",
    ),
    (
        "memory pressure, of a container called spot-forecast",
        disrupted(
            "TerminationByKubelet",
            "The node was low on resource: memory. Container spot-forecast was using 3Gi, request is 1Gi",
            reason="Evicted",
            message="The node was low on resource: memory. Container spot-forecast was using 3Gi, request is 1Gi",
        ),
        "evicted",
        "memory",
    ),
    (
        "drained, of a pod called preemptible-cache",
        disrupted("EvictionByEvictionAPI", "evicting pod preemptible-cache"),
        "evicted",
        "drain",
    ),
    (
        "a spot instance is rolled back",
        disrupted("EvictionByEvictionAPI", "draining: spot interruption"),
        "preempted",
        "node-shutdown",
    ),
    (
        "a taint of its device",
        disrupted("DeletionByDeviceTaintManager", "Device Taint manager: deleting"),
        "evicted",
        "device-taint",
    ),
    # Kueue
    *(
        (
            f"Kueue: {why}",
            ended(143, conditions=[{"type": "TerminationTarget", "status": "True", "reason": why, "message": "x"}]),
            named,
            "kueue",
        )
        for why, named in (
            ("WorkloadEvictedDueToPreempted", "preempted"),
            ("WorkloadEvictedDueToPodsReadyTimeout", "preempted"),
            ("WorkloadEvictedDueToMaximumExecutionTimeExceeded", "deadline"),
            ("WorkloadEvictedDueToDeactivated", "cancelled"),
        )
    ),
    # the kubelet's other refusals
    *(
        (f"refused: {reason}", failed(reason, message), named, kind)
        for reason, message, named, kind in (
            ("TaintToleration", "Predicate TaintToleration failed", "unschedulable", "node-admission"),
            ("InvalidNodeInfo", "Kubelet cannot get node info.", "unschedulable", "node-admission"),
            ("NodeName", "Predicate NodeName failed", "unschedulable", "node-admission"),
            ("UnknownReason", "GeneralPredicates failed due to unknown reason", "unschedulable", "node-admission"),
            ("OfALaterKubernetes", "Pod was rejected: x", "unschedulable", "node-admission"),
            ("SupplementalGroupsPolicyNotSupported", "Strict is not supported", "admission", "kubelet"),
        )
    ),
    # images: a number in a name is no status, and a node's disk is no registry's
    *(
        (f"an image: {text}", waiting("ErrImagePull", text), "image", kind)
        for text, kind in (
            (
                f'failed to do request: Get "https://reg.example/v2/t/blobs/sha256:{"9f401c" * 10}": dial tcp 10.0.0.9:443: i/o timeout',
                "network",
            ),
            ("failed to copy: read tcp 10.1.2.3:40312->192.0.2.9:443: read: connection reset by peer", "network"),
            (
                'failed to resolve reference "403112345678.dkr.ecr.eu-west-1.amazonaws.com/t:1": dial tcp: i/o timeout',
                "network",
            ),
            ('failed to pull image "reg.example/401/denied:404": unexpected EOF', "network"),
            (
                'failed to pull image "reg.example/t:1": unexpected status from GET request: 503 Service Unavailable',
                "network",
            ),
            ("unexpected status from HEAD request to https://reg.example/v2/t/manifests/1: 403 Forbidden", "auth"),
            ("no match for platform in manifest: not found", "not-found"),
            ("failed to extract layer: write /var/lib/containerd/x: no space left on device: unknown", "node-disk"),
        )
    ),
    ("a signature is missing", waiting("SignatureValidationFailed", "A signature was required"), "image", "signature"),
]
