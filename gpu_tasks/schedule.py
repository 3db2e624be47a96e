"""The learning rate of a step: linear warm-up, then a cosine down to a floor (Loshchilov and Hutter 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bulkhead.gpu_tasks.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """A learning rate by step; it has no state, so a resume needs none.

    Attributes:
        peak: highest rate.
        steps: of the whole training.
        warmup: steps of the warm-up; the first one has ``peak / warmup``.
        floor: share of the peak that is left at the end, 0 to 1.
    """

    peak: float
    steps: int
    warmup: int = 0
    floor: float = 0.1

    def __post_init__(self) -> None:
        if not (self.peak > 0 and math.isfinite(self.peak)):
            raise ConfigError(f"learning_rate = {self.peak}: give a number above 0")
        if self.steps < 1 or not 0 <= self.warmup < self.steps:
            raise ConfigError(f"steps = {self.steps}, warmup = {self.warmup}: warm up for fewer steps than there are")
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"floor = {self.floor}: give a share from 0 to 1")

    def rate(self, step: int) -> float:
        """The rate of a step.

        Args:
            step: from 1 to ``steps``; the floor holds after them.
        """
        if step <= self.warmup:
            return self.peak * step / self.warmup
        through = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        return self.peak * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * through)) / 2)
