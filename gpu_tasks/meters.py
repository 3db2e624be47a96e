"""How fast a training is, and how much of its devices it uses."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch
from torch import nn

PEAKS = {
    "B200": 2250e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
}
"""Floating-point operations a second in bfloat16 without sparsity, by a part of the product's name (NVIDIA's data
sheets). The first that fits counts."""


def peak(name: str) -> float | None:
    """The peak of a device; None where it is not known.

    Args:
        name: of the product, as the driver tells it.
    """
    return next((flops for part, flops in PEAKS.items() if part in name), None)


class Meter:
    """Measures a training between two polls.

    Args:
        model: that is trained. If it has a method ``flops_a_sample()`` (floating-point operations to train on one
            sample, forward and backward), these are measured too.
        device: of this rank.
        batch: samples of a step, of all ranks together.
        ranks: how many there are.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        batch: int,
        ranks: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device, self._batch, self._ranks, self._clock = device, batch, ranks, clock
        count_flops = getattr(model, "flops_a_sample", None)
        self._flops = float(count_flops()) if count_flops is not None else None
        self._peak = peak(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self._since = (clock(), 0)

    def begin(self, step: int) -> None:
        """Measure from here."""
        self._since = (self._clock(), step)

    def read(self, step: int) -> dict[str, float]:
        """Measure since the last poll, and go on from here.

        Returns:
            ``samples_per_s`` and ``flops_per_s`` of all ranks together; ``mfu``, the share of the devices' peak
            (Chowdhery et al. 2022, appendix B); ``memory_bytes``, this rank's highest so far: on its device, else in
            RAM.
        """
        then, before = self._since
        self.begin(step)
        rate = (step - before) * self._batch / max(1e-9, self._since[0] - then)
        readings = {"samples_per_s": rate, "memory_bytes": self._memory()}
        if self._flops is not None:
            readings["flops_per_s"] = rate * self._flops
            if self._peak is not None:
                readings["mfu"] = readings["flops_per_s"] / (self._peak * self._ranks)
        return readings

    def _memory(self) -> float:
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0  # the kernel counts in KiB
