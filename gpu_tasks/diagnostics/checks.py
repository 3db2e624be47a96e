"""The checks: each measures one thing of one device and says what is wrong with it.

A product is checked twice: the same operands give the same bits every time, and its row sums agree with a product by a
vector in double precision (Huang and Abraham, "Algorithm-Based Fault Tolerance for Matrix Operations", 1984). The
first finds a device that is unsteady, the second one that is steadily wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import torch

_PATTERNS = (0x00, 0xFF, 0x55, 0xAA)
_MARGIN = 4.0
_GIB = 1024**3
_COMPARED = 256 << 20
"""Bytes that are compared at once: the answer takes memory too, and most of the device's is under test."""


@dataclass(frozen=True)
class Size:
    """How much a level does.

    Attributes:
        seconds: for each check.
        matmul: rows of the square matrices.
        memory_share: of the free memory that is tested.
        copy_mib: copied at once.
    """

    seconds: float
    matmul: int
    memory_share: float
    copy_mib: int


@dataclass
class Check:
    """What one check found.

    Attributes:
        name: of it.
        value: what was measured, in ``unit``.
        unit: of the value.
        wrong: what is wrong, in words; empty where nothing is.
        more: other numbers.
    """

    name: str
    value: float
    unit: str
    wrong: str = ""
    more: dict[str, float] = field(default_factory=dict)


def matmul(device: torch.device, dtype: torch.dtype, size: Size) -> Check:
    """Matrix products: right, the same every time, and how fast.

    Args:
        size: how much to do.

    Returns:
        TFLOPS, with how many products were compared.
    """
    name = f"matmul-{str(dtype).removeprefix('torch.')}"
    left, right = (operand.to(device, dtype) for operand in _operands(size.matmul))
    first = product(left, right)
    wrong = sums_wrong(left, right, first)
    _wait(device)
    begin, rounds = time.perf_counter(), 0
    while not wrong and (rounds == 0 or time.perf_counter() - begin < size.seconds):
        again = product(left, right)
        rounds += 1
        if not torch.equal(again, first):
            wrong = f"product {rounds} of the same operands differs in {int((again != first).sum())} places"
    _wait(device)
    taken = time.perf_counter() - begin
    speed = 0.0 if wrong else _speed(device, left, right, min(size.seconds, 2.0))
    return Check(name, speed, "TFLOPS", wrong, {"compared": rounds, "seconds": round(taken, 3)})


@lru_cache(maxsize=1)
def _operands(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for every device and type; to make them takes the host longer than a device needs for many products."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.rand(rows, rows, generator=generator).sub_(0.5) for _ in range(2))
    return left, right


def _speed(device: torch.device, left: torch.Tensor, right: torch.Tensor, seconds: float) -> float:
    """TFLOPS, without the comparisons."""
    out, rows, rounds = torch.empty_like(left), left.shape[0], 0
    _wait(device)
    begin = time.perf_counter()
    while rounds == 0 or time.perf_counter() - begin < seconds:
        for _ in range(8):
            torch.matmul(left, right, out=out)
        rounds += 8
        _wait(device)
    return 2 * rows**3 * rounds / (time.perf_counter() - begin) / 1e12


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A matrix product.

    Returns:
        rows x columns.
    """
    return left @ right


def sums_wrong(left: torch.Tensor, right: torch.Tensor, product: torch.Tensor) -> str:
    """Whether a product's row sums are those that they should be.

    Returns:
        What is wrong, in words; empty where nothing is.
    """
    rows = left.shape[0]
    expected = left.cpu().double() @ right.cpu().double().sum(dim=1)
    entries = product.cpu().double()
    sums = entries.sum(dim=1)
    # Each entry is rounded to the type once, and summed in at least single precision.
    unit = torch.finfo(left.dtype).eps
    scale = entries.abs_().sum(dim=1) + rows**0.5
    bound = _MARGIN * (unit * scale + rows * torch.finfo(torch.float32).eps * scale)
    bad = int(((sums - expected).abs() > bound).sum())
    if not bool(torch.isfinite(sums).all()):
        return "the product has entries that are no numbers"
    return f"{bad} of {rows} row sums are wrong" if bad else ""


def memory(device: torch.device, size: Size) -> Check:
    """Patterns written to memory and read back, and how fast it is copied.

    Args:
        size: how much to do.

    Returns:
        GB/s of reading and writing together, with the GiB that were tested.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2 * _GIB
    length = max(int(free * size.memory_share) // 2, 1 << 20)
    held, copy = (torch.empty(length, dtype=torch.uint8, device=device) for _ in range(2))
    wrong, rounds, begin = "", 0, time.perf_counter()
    for pattern in _until(begin, size.seconds):
        held.fill_(pattern)
        copy.copy_(held)
        bad = sum([int(torch.count_nonzero(part.ne(pattern))) for part in copy.split(_COMPARED)])
        rounds += 1
        if bad:
            wrong = f"{bad} bytes do not hold the pattern 0x{pattern:02x}"
            break
    _wait(device)
    copies, begin = 0, time.perf_counter()
    while copies == 0 or time.perf_counter() - begin < min(size.seconds, 1.0):
        copy.copy_(held)
        copies += 1
        _wait(device)
    speed = 2 * length * copies / (time.perf_counter() - begin) / 1e9
    return Check("memory", speed, "GB/s", wrong, {"gib": round(2 * length / _GIB, 3), "patterns": rounds})


def link(device: torch.device, size: Size) -> list[Check]:
    """Copies between host and device.

    Args:
        size: how much to do.

    Returns:
        GB/s in each direction. On a simulated GPU both are memory's.
    """
    length = size.copy_mib << 20
    host = torch.randint(0, 256, (length,), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    if device.type == "cuda":
        host = host.pin_memory()
    # What it comes back to is pinned as well: from 13 GB/s to pageable memory, an H200 was called narrow.
    there, back = torch.empty_like(host, device=device), torch.empty_like(host, pin_memory=host.is_pinned())
    to_device = _rate(device, lambda: there.copy_(host), length, size.seconds / 2)
    to_host = _rate(device, lambda: back.copy_(there), length, size.seconds / 2)
    wrong = "" if torch.equal(host, back) else "what was copied there and back is not the same"
    return [Check("host-to-device", to_device, "GB/s", wrong), Check("device-to-host", to_host, "GB/s", wrong)]


def _rate(device: torch.device, copy: Callable[[], object], length: int, seconds: float) -> float:
    copies, begin = 0, time.perf_counter()
    while copies == 0 or time.perf_counter() - begin < seconds:
        copy()
        copies += 1
        _wait(device)
    return length * copies / (time.perf_counter() - begin) / 1e9


def _until(begin: float, seconds: float) -> Iterator[int]:
    """Patterns, all of them at least once, until the time is over."""
    yield from _PATTERNS
    while time.perf_counter() - begin < seconds:
        yield from _PATTERNS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
