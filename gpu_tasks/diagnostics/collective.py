"""All-reduce over all devices of a machine: right, and how fast."""

from __future__ import annotations

import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from bulkhead.gpu_tasks.diagnostics.checks import Check

_PATIENCE = timedelta(seconds=60)


def all_reduce(devices: int, kind: str, mib: int, seconds: float) -> Check:
    """One process a device adds up what each holds.

    Args:
        devices: how many, at least 2.
        kind: ``cuda`` or ``cpu``.

    Returns:
        Bus bandwidth in GB/s, as nccl-tests defines it: 2 (n - 1) / n times size over time.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = (devices, kind, mib, seconds, folder)
        try:
            spawn(_rank, arguments, nprocs=devices, join=True)
            speed = float((Path(folder) / "speed").read_text(encoding="utf-8"))
        except (ProcessRaisedException, ProcessExitedException) as error:
            return Check("all-reduce", 0.0, "GB/s", str(error).strip().splitlines()[-1][:300])
    return Check("all-reduce", speed, "GB/s", "", {"devices": devices})


def _rank(rank: int, devices: int, kind: str, mib: int, seconds: float, folder: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    device = torch.device(kind, rank) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(
        backend, init_method=f"file://{folder}/meeting", rank=rank, world_size=devices, timeout=_PATIENCE
    )
    length = (mib << 20) // 4
    # Whole numbers: their sum is exact in single precision, whatever the order.
    held = torch.arange(length, dtype=torch.float32, device=device) % 1024 + rank
    expected = (torch.arange(length, dtype=torch.float32, device=device) % 1024) * devices + sum(range(devices))
    first = held.clone()
    distributed.all_reduce(first)
    if not torch.equal(first, expected):
        raise ValueError(f"rank {rank}: {int((first != expected).sum())} of {length} sums are wrong")
    rounds, begin, more = 0, time.perf_counter(), torch.ones(1, device=device)
    while bool(more.item()):
        distributed.all_reduce(held)
        held.zero_()
        rounds += 1
        more.fill_(1.0 if time.perf_counter() - begin < seconds else 0.0)
        distributed.broadcast(more, 0)  # rank 0 decides for all when it is over
    taken = time.perf_counter() - begin
    if rank == 0:
        speed = 2 * (devices - 1) / devices * 4 * length * rounds / taken / 1e9
        (Path(folder) / "speed").write_text(str(speed), encoding="utf-8")
    distributed.destroy_process_group()
