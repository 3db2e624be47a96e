"""GPUs of this machine, one holder each: a lock file a device, held by the supervisor of the pod that has it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bulkhead.errors import InvalidInputError
from bulkhead.runtimes.local.layout import Layout


def devices(simulated_gpus: int) -> list[str]:
    """UUIDs of the GPUs that a pod can be given here.

    Args:
        simulated_gpus: how many simulated GPUs were asked for by name; 0 for none. One counts as a GPU
            to the scheduler and is none to the program: the pod sees no CUDA device.

    Returns:
        NVML's UUIDs where NVML sees GPUs, else ``simulated-gpu-<n>``.
    """
    uuids = _nvml_uuids()
    return uuids or [f"simulated-gpu-{index}" for index in range(simulated_gpus)]


def check_request(count: int, simulated_gpus: int) -> None:
    """Refuse a request that this machine can never serve.

    Args:
        simulated_gpus: simulated GPUs asked for by name.

    Raises:
        InvalidInputError: there are fewer devices than that.
    """
    have = devices(simulated_gpus) if count else []
    if count > len(have):
        raise InvalidInputError(
            "pod.spec.containers[0].resources.limits['nvidia.com/gpu']",
            count,
            f"this machine has {len(have)} GPU(s) that NVML sees; ask for fewer, or name simulated GPUs"
            " (simulated_gpus in the bulkhead_local connection, or BULKHEAD_SIMULATED_GPUS)",
        )


@contextmanager
def try_hold(layout: Layout, count: int, simulated_gpus: int) -> Iterator[list[str] | None]:
    """Take ``count`` free devices at once, or none.

    Args:
        layout: of the runtime; its ``gpus`` folder holds the locks.
        simulated_gpus: simulated GPUs asked for by name.

    Yields:
        The UUIDs held until the block is left, or None if too few are free now.
    """
    held: dict[str, int] = {}
    try:
        for uuid in devices(simulated_gpus) if count else []:
            if len(held) == count:
                break
            descriptor = os.open(layout.gpus / f"{uuid}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            held[uuid] = descriptor
        yield list(held) if len(held) == count else None
    finally:
        for descriptor in held.values():
            os.close(descriptor)


def environment(uuids: list[str]) -> dict[str, str]:
    """Variables that show a program its devices and hide the others."""
    real = [uuid for uuid in uuids if not uuid.startswith("simulated-gpu-")]
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(real),
        "NVIDIA_VISIBLE_DEVICES": ",".join(real) or "void",
        "BULKHEAD_DEVICES": ",".join(uuids),
    }


def _nvml_uuids() -> list[str]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, no library: a machine without GPUs
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()
