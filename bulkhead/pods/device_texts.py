"""What the text of an error says of a GPU: the words of torch, JAX, NCCL, NVML, the CUDA driver and the kernel.

Sources: the CUDA driver API's ``CUresult`` and the runtime's ``cudaError``; torch's ``c10/cuda/CUDAException`` and
``torch/cuda/__init__.py``; NCCL's ``ncclResult_t``; NVML's ``nvmlReturn_t``; XLA's status codes.
"""

from __future__ import annotations

import re

from bulkhead.pods.outcome import FailureClass
from bulkhead.xids import Attribution, RecommendedAction, Xid, lines, row_of, stated_action

_C = FailureClass

_GPU_OOM = re.compile(
    r"(CUDA|HIP|GPU|NCCL).{0,20}out of memory|torch[\w.]*OutOfMemoryError|CU(DA|BLAS|DNN|SOLVER)_\w*"
    r"(OUT_OF_MEMORY|ALLOC_FAILED)|cudaErrorMemoryAllocation|RESOURCE_EXHAUSTED.{0,80}(out of memory|allocat)|"
    r"OOM when allocating tensor.{0,200}\b(gpu|cuda)",
    re.I | re.S,
)

_DEVICE = (
    (
        re.compile(
            r"uncorrectable (ECC|NVLink)|cudaErrorECCUncorrectable|CUDA_ERROR_(ECC_UNCORRECTABLE|NVLINK_UNCORRECTABLE)|"
            r"hardware stack error|CUDA_ERROR_HARDWARE_STACK_ERROR|double.bit ECC",
            re.I,
        ),
        "ecc",
    ),
    (
        re.compile(
            r"GPU is lost|fallen off the bus|NVML_ERROR_GPU_IS_LOST|cudaErrorDevicesUnavailable|"
            r"CUDA_ERROR_DEVICE_UNAVAILABLE|device\(s\) is/are busy or unavailable|GPU requires reset|"
            r"NVML_ERROR_RESET_REQUIRED|unable to determine the device handle",
            re.I,
        ),
        "lost",
    ),
    (
        re.compile(
            r"(CUDA error:|Cuda failure( \d+)?:?) '?(unspecified launch failure|unknown error)|cudaErrorLaunchFailure|"
            r"cudaErrorUnknown|CUDA_ERROR_(LAUNCH_FAILED|UNKNOWN)\b|Cuda failure (719|999)\b|CUDA unknown error",
            re.I,
        ),
        "launch-failure",
    ),
    (
        re.compile(
            r"no CUDA-capable device|no CUDA GPUs are available|CUDA driver initialization failed|system not yet "
            r"initialized|cudaErrorNoDevice|CUDA_ERROR_NO_DEVICE|CUDA_ERROR_SYSTEM_(NOT_READY|DRIVER_MISMATCH)|"
            r"cudaErrorSystem(NotReady|DriverMismatch)|unsupported display driver|driver/library version mismatch|"
            r"(Failed to initialize NVML|NVML).{0,20}(Unknown Error|Driver Not Loaded)|NVML_ERROR_(UNKNOWN|DRIVER_NOT)",
            re.I,
        ),
        "no-device",
    ),
)
_OF_PROGRAM = re.compile(
    r"device-side assert|illegal memory access|misaligned address|an illegal instruction was encountered|"
    r"CUDA error: (invalid|.{0,40}out of bounds)|CUDA_ERROR_(ILLEGAL_ADDRESS|ASSERT|MISALIGNED_ADDRESS|INVALID_VALUE)|"
    r"cudaError(IllegalAddress|Assert|MisalignedAddress|InvalidValue)"
)
_HARDWARE = (Attribution.DEVICE, Attribution.UNKNOWN, Attribution.LINK, Attribution.WATCH)

# What NVIDIA's container toolkit, CDI and the device plugin say where the node's own driver or devices are at fault.
_TOOLKIT = re.compile(
    r"nvidia-container-cli|nvidia-container-runtime|libnvidia-container|CDI device|cdi\.nvidia|nvml error|\bnvml: |"
    r"NVML_ERROR|error creating nvml",
    re.I,
)
# The image asks for a newer driver than this node has: the node's, yet nothing is wrong with its devices.
_REQUIREMENT = re.compile(r"requirement error: unsatisfied condition", re.I)


def device(text: str) -> tuple[FailureClass, str] | None:
    """What an error text says of the GPU: the device's fault, the program's memory, or nothing.

    Args:
        text: of an exception, a traceback, the end of a log.

    Returns:
        Class and kind; None where the text says nothing of a device, or says that the program is at fault in a way that
        is no error of CUDA's.
    """
    if _GPU_OOM.search(text):
        return _C.GPU_OOM, ""
    xid = _gravest(text)
    if xid is not None:
        return _C.DEVICE_FAULT, f"xid-{xid.number}"
    for pattern, kind in _DEVICE:
        if pattern.search(text):
            return _C.DEVICE_FAULT, kind
    return (_C.APPLICATION, "cuda") if _OF_PROGRAM.search(text) else None


def of_node(text: str) -> tuple[FailureClass, str] | None:
    """What the words of the container runtime say of the node's driver and devices.

    Args:
        text: of the kubelet, the container runtime or a device plugin.

    Returns:
        Class and kind; None where they say nothing of devices.
    """
    if _REQUIREMENT.search(text):
        return _C.CONFIG, "driver"
    if fault := device(text):
        return fault if fault[0] is _C.DEVICE_FAULT else None
    return (_C.DEVICE_FAULT, "container-toolkit") if _TOOLKIT.search(text) else None


def _gravest(text: str) -> Xid | None:
    """The Xid of a text that decides, where one is the hardware's: by the catalogue, as the fleet's watch judges."""
    matches = []
    for line in lines(text):
        xid = row_of(line.number, line.text)
        stated = stated_action(line.text) if line.number == 154 else None
        if xid.attribution in _HARDWARE or (stated is not None and stated.weight >= RecommendedAction.RESET.weight):
            matches.append(xid)
    return min(matches, key=lambda xid: (xid.attribution.weight, -xid.action.weight), default=None)
