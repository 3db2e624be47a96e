"""What becomes of a step whose loss is not a number, or jumps: a pure decision over the losses so far.

A spike is told by the median and the median absolute deviation of the last losses, scaled to a normal distribution's
standard deviation (1.4826; Rousseeuw and Croux 1993), so that a spike does not raise the bar for the next one.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median

from bulkhead.gpu_tasks.entry import at_least
from bulkhead.gpu_tasks.errors import ConfigError

_TO_SIGMA = 1.4826


class GuardAction(enum.StrEnum):
    """What is done about a step.

    ``GO_ON`` takes it. ``SKIP`` drops its gradients and goes on with the next batch. ``ROLL_BACK`` returns to the last
    good checkpoint, and drops this batch when it comes again. ``STOP`` ends the training.
    """

    GO_ON = "go_on"
    SKIP = "skip"
    ROLL_BACK = "roll_back"
    STOP = "stop"


@dataclass(frozen=True)
class GuardPolicy:
    """What to do about which step.

    Attributes:
        not_finite: about a loss or a gradient norm that is NaN or infinite.
        spike: about a loss that jumps.
        sigmas: so many standard deviations above the median is a jump.
        rise: and at least this factor above it, for losses that hardly vary.
        window: losses that are remembered.
        least: losses before which no jump is told.
        most: so many bad steps within ``window`` steps stop the training, whatever else is asked for.
    """

    not_finite: GuardAction = GuardAction.ROLL_BACK
    spike: GuardAction = GuardAction.SKIP
    sigmas: float = 8.0
    rise: float = 2.0
    window: int = 64
    least: int = 16
    most: int = 5

    def __post_init__(self) -> None:
        at_least(self, "guards.", sigmas=1, rise=1, window=2, least=2, most=1)
        if self.least > self.window:
            raise ConfigError(f"guards.least = {self.least}: no more than window = {self.window} are remembered")
        if self.not_finite is GuardAction.GO_ON:
            raise ConfigError("guards.not_finite = go_on: one such step makes every weight NaN; give skip, or another")


@dataclass(frozen=True)
class GuardDecision:
    """What is done, and why.

    Attributes:
        action: to be taken.
        reason: in words; empty where the step is taken.
    """

    action: GuardAction = GuardAction.GO_ON
    reason: str = ""


@dataclass
class Guard:
    """Watches the losses of one training. Every rank sees the same mean loss, and so decides the same.

    Attributes:
        policy: what to do about which step.
        bad: steps that were found bad; their batches are dropped when they come again.
    """

    policy: GuardPolicy
    bad: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=self.policy.window)

    def check(self, step: int, loss: float) -> GuardDecision:
        """Decide about a step by its loss, before its gradients are applied.

        Args:
            step: number of the step.
            loss: mean over all ranks.

        Returns:
            What to do. A step that was bad before is skipped: a resume is exact, so it would be bad again.
        """
        if step in self.bad:
            return GuardDecision(GuardAction.SKIP, f"step {step} was bad before")
        if not math.isfinite(loss):
            return self._found(step, self.policy.not_finite, f"loss {loss}")
        bound = self.bound()
        if loss > bound:
            return self._found(step, self.policy.spike, f"loss {loss:.4g} is over {bound:.4g}, and so a jump")
        self._losses.append(loss)
        return GuardDecision()

    def check_norm(self, step: int, norm: float) -> GuardDecision:
        """Decide about a step whose loss was healthy by its gradients: before they are applied, or after.

        Args:
            step: number of the step.
            norm: of its gradients, before clipping.

        Returns:
            What to do.
        """
        if math.isfinite(norm):
            return GuardDecision()
        return self._found(step, self.policy.not_finite, f"gradient norm {norm}")

    def bound(self) -> float:
        """A loss above it is a jump; infinite until enough are known."""
        if len(self._losses) < self.policy.least:
            return math.inf
        middle = median(self._losses)
        sigma = _TO_SIGMA * median(abs(loss - middle) for loss in self._losses)
        return max(middle + self.policy.sigmas * sigma, middle * self.policy.rise)

    def returned(self) -> None:
        """The training went back to a checkpoint: the losses since are forgotten, the bad steps are not."""
        self._losses.clear()

    def _found(self, step: int, action: GuardAction, reason: str) -> GuardDecision:
        text = f"step {step}: {reason}"
        if action is GuardAction.GO_ON:
            return GuardDecision(action, text)
        self.bad.add(step)
        recent = sum(step - self.policy.window < bad_step <= step for bad_step in self.bad)
        if recent > self.policy.most:
            return GuardDecision(GuardAction.STOP, f"{text}; {recent} bad steps of {self.policy.window} are too many")
        return GuardDecision(action, text)
