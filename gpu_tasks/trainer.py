"""A trainer for models of your own, which survives its hardware.

You give ``build(ranks) -> (model, optimizer, data, identity)``: a module with a method ``loss(batch)``, what makes an
optimizer of its parameters, data with ``size``, ``data_hash`` and ``batch(indices)``, and what the model is. It brings
the rest: DDP or FSDP2 under ``torchrun``, bfloat16, compilation, accumulation, a schedule, clipping, guards,
checkpoints, an exact resume, and an end within the grace period when it is told to end.

Nothing is remembered beside weights and optimizer but the step: order, learning rate and random numbers are functions
of it. So a resume does the same steps as a training that was never interrupted.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch._dynamo  # by every optimizer when it is made: here it is imported before the launcher forks the ranks
from safetensors.torch import save_file
from torch import nn

from bulkhead.gpu_tasks.checkpoints import Checkpoints
from bulkhead.gpu_tasks.entry import at_least
from bulkhead.gpu_tasks.errors import ConfigError, PreemptedError
from bulkhead.gpu_tasks.guards import Guard, GuardAction, GuardDecision, GuardPolicy
from bulkhead.gpu_tasks.heartbeat import Heartbeat
from bulkhead.gpu_tasks.meters import Meter
from bulkhead.gpu_tasks.order import Order
from bulkhead.gpu_tasks.parallel import Objective, Ranks, restore, share, tensors, weights
from bulkhead.gpu_tasks.schedule import Schedule
from bulkhead.gpu_tasks.stores.base import name_of

log = logging.getLogger(__name__)

_ODD = 0x9E3779B97F4A7C15  # seeds of neighbouring steps and ranks are far apart

Loss = Callable[[torch.Tensor], torch.Tensor]
"""The mean loss of a batch."""

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""Makes an optimizer of parameters."""


class DivergedError(Exception):
    """The guards have stopped the training. The text says why."""


class Data(Protocol):
    """Samples to train on."""

    size: int
    data_hash: str

    def batch(self, indices: npt.NDArray[np.int64]) -> torch.Tensor:
        """Some samples.

        Args:
            indices: of the samples, shape (n,).
        """


class TrainingSetup(NamedTuple):
    """What is trained.

    Attributes:
        model: with a method ``loss(batch)``, the mean over the batch.
        optimizer: makes one of its parameters.
        data: to train on.
        identity: what the model is; a checkpoint of another one is refused.
    """

    model: nn.Module
    optimizer: OptimizerFactory
    data: Data
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        schedule: learning rates and number of steps.
        batch: samples of a step, of all ranks together.
        grad_accumulation_steps: parts that a rank's share of a batch is computed in, for memory.
        parallel: one of ``bulkhead.gpu_tasks.parallel.WAYS``.
        bf16: whether to compute in bfloat16.
        compile: whether to compile; what does not compile runs as it is, with a warning.
        max_norm: largest norm of the gradients.
        seed: of weights, order and dropout.
        guards: what is done about bad steps.
        checkpoint_interval: steps between two checkpoints.
        keep_latest: newest checkpoints that stay.
        keep_interval: those whose step is a multiple of it stay too; 0 for none.
        log_interval: steps between two sets of metrics.
    """

    schedule: Schedule
    batch: int = 32
    grad_accumulation_steps: int = 1
    parallel: str = "ddp"
    bf16: bool = False
    compile: bool = False
    max_norm: float = 1.0
    seed: int = 0
    guards: GuardPolicy = field(default_factory=GuardPolicy)
    checkpoint_interval: int = 100
    keep_latest: int = 3
    keep_interval: int = 0
    log_interval: int = 10

    def __post_init__(self) -> None:
        at_least(self, "", batch=1, grad_accumulation_steps=1, checkpoint_interval=1, log_interval=1)
        if not self.max_norm > 0:
            raise ConfigError(f"max_norm = {self.max_norm}: give a number above 0")


@dataclass
class Result:
    """How a training went.

    Attributes:
        step: last one.
        loss: of it.
        resumed_from: step of the checkpoint that it began with; None for the beginning.
        steps: that this process has done, with those that were done twice.
        skipped: steps whose gradients were dropped.
        rolled_back: how often it has returned to a checkpoint.
        trained_s: time in steps, in seconds.
        stalled_s: of that, waiting for checkpoints.
        checkpoints: saved and failed ones.
    """

    step: int = 0
    loss: float = float("nan")
    resumed_from: int | None = None
    steps: int = 0
    skipped: int = 0
    rolled_back: int = 0
    trained_s: float = 0.0
    stalled_s: float = 0.0
    checkpoints: tuple[int, int] = (0, 0)


class Trainer:
    """One training.

    Args:
        config: how to train.
        ranks: that train it together.
        build: gives model, optimizer and data.
        checkpoint_dir: path or URL of the checkpoints, which all ranks see.
        progress: of the signs of progress; None for none.
        report_metrics: gets step and metrics; on the first rank alone.
    """

    def __init__(
        self,
        config: TrainConfig,
        ranks: Ranks,
        build: Callable[[Ranks], TrainingSetup],
        checkpoint_dir: str | Path,
        progress: Path | None = None,
        report_metrics: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
    ) -> None:
        self.config, self.ranks, self.report_metrics = config, ranks, report_metrics
        torch.manual_seed(config.seed)
        setup = build(ranks)
        self.data = setup.data
        self.objective = Objective(setup.model.to(ranks.device))
        self.model: Loss = share(self.objective, ranks, config.parallel, config.bf16)
        self.optimizer = setup.optimizer(self.objective.parameters())
        self.order, self.guard = Order(setup.data.size, config.seed), Guard(config.guards)
        identity = {**setup.identity, "data_hash": setup.data.data_hash, "batch": config.batch, "seed": config.seed}
        self.checkpoints = Checkpoints(checkpoint_dir, identity, config.keep_latest, config.keep_interval)
        self.heart = Heartbeat(progress, ranks.rank) if progress is not None else None
        self.result = Result()
        self.meter = Meter(setup.model, ranks.device, config.batch, ranks.count)
        self._terminating = False
        self._unseen: torch.Tensor | float = 0.0  # norm of the last step's gradients, until it is looked at
        self.order.shard(
            0, config.batch, ranks.rank, ranks.count * config.grad_accumulation_steps
        )  # refuses an uneven share
        if config.compile:
            self.model = self._compiled(self.model)

    def run(self) -> Result:
        """Train from the newest checkpoint that is whole to the last step.

        Raises:
            ConfigError: the checkpoint is of another model, data set or batch.
            DivergedError: the guards have stopped it.
            PreemptedError: SIGTERM came; what was done is saved.
        """
        before = signal.signal(signal.SIGTERM, self._end)
        try:
            self.result.resumed_from = self._resume()
            self.meter.begin(self.result.step)
            while self.result.step < self.config.schedule.steps:
                begin = time.monotonic()
                self._advance(self.result.step + 1)
                self.result.trained_s += time.monotonic() - begin
            return self.result
        finally:
            self.checkpoints.close()
            counts = self.checkpoints.counts
            self.result.stalled_s, self.result.checkpoints = counts.stalled_s, (counts.saved, counts.failed)
            signal.signal(signal.SIGTERM, before)
            if self.heart is not None:
                self.heart.close()

    def export(self, path: Path) -> None:
        """Write the weights, whole, as a safetensors file: what leaves the job. Every rank has to call it.

        Args:
            path: of the file; it is there only once it is complete.
        """
        whole = weights(self.objective)
        if self.ranks.rank == 0:
            part = path.with_name(f".{path.name}.part")
            save_file(whole, part)
            part.rename(path)

    def _advance(self, step: int) -> None:
        """One step.

        The host is ahead of a GPU, which so never waits for it: the loss is looked at while the gradients are computed,
        and their norm with the next loss, where what bad ones have done can be undone.
        """
        numbers, norm = self._gradients(step), self._norm()
        loss, before, ending = numbers()
        last, reports = step == self.config.schedule.steps, step % self.config.log_interval == 0
        saves = step % self.config.checkpoint_interval == 0 or last or bool(ending)
        largest = self.ranks.mean(norm)[0] if reports or saves or not self._may_undo() else None
        decision = self._decide(step, before, loss, largest)
        self._unseen = 0.0
        match decision.action:
            case GuardAction.STOP:
                raise DivergedError(decision.reason)
            case GuardAction.ROLL_BACK:
                self._roll_back(decision.reason, undo=not math.isfinite(before))
                return
            case GuardAction.SKIP:
                self.result.skipped += 1
            case GuardAction.GO_ON:
                self._update(step)
                self._unseen = norm if largest is None else 0.0
        self.optimizer.zero_grad()
        self.result.step, self.result.loss, self.result.steps = step, loss, self.result.steps + 1
        if reports and largest is not None and self.ranks.rank == 0:
            self.report_metrics(step, self._metrics(step, loss, largest))
        if saves:
            self._save(step, wait=bool(last or ending))
        if ending and not last:
            saved = self.checkpoints.last()  # an older one, if this save has failed
            at = None if saved is None else self.checkpoints.at(saved)
            kept = "nothing is saved" if saved is None else f"saved as {name_of(saved)}"
            raise PreemptedError(f"told to end at step {step} of {self.config.schedule.steps}; {kept}", at)

    def _decide(self, step: int, before: float, loss: float, norm: float | None) -> GuardDecision:
        """What becomes of this step; or of the one before, whose gradients were applied before their norm was known."""
        checks = [partial(self.guard.check_norm, step - 1, before), partial(self.guard.check, step, loss)]
        if norm is not None:
            checks.append(partial(self.guard.check_norm, step, norm))
        for check in checks:
            decision = check()
            if decision.reason:
                log.warning("%s: %s", decision.action, decision.reason)
            if decision.action is not GuardAction.GO_ON:
                break
        return decision

    def _may_undo(self) -> bool:
        """Whether what bad gradients do to the weights is lost again: then they may be applied before they are seen."""
        action = self.config.guards.not_finite
        return action is GuardAction.STOP or (action is GuardAction.ROLL_BACK and self.checkpoints.kept)

    def _metrics(self, step: int, loss: float, norm: float) -> dict[str, float]:
        learning = self.config.schedule.rate(step)
        return {"loss": loss, "gradient_norm": norm, "learning_rate": learning, **self.meter.read(step)}

    def _gradients(self, step: int) -> Callable[[], list[float]]:
        """Forward and backward over this rank's share. What is returned waits for the last forward.

        It gives, as means over the ranks: the loss, the norm that is yet to be looked at, and whether to end. What one
        rank knows (a NaN, a SIGTERM), every rank so does something about in the same step.
        """
        config = self.config
        torch.manual_seed(((config.seed * _ODD + step) * _ODD + self.ranks.rank) % 2**63)
        self._beat(step, "data")
        before = (step - 1) * config.batch
        indices = self.order.shard(before, config.batch, self.ranks.rank, self.ranks.count)
        total = torch.zeros((), device=self.ranks.device)
        parts = np.split(indices, config.grad_accumulation_steps)
        for number, part in enumerate(parts, 1):
            batch = self._there(self.data.batch(part))
            self._beat(step, "forward")
            with self._alone() if number < len(parts) else nullcontext(), self._precision():
                loss = self.model(batch) / config.grad_accumulation_steps
                total += loss.detach()
                self._beat(step, "backward")
                if number == len(parts):
                    numbers = self.ranks.mean_soon(total, self._unseen, float(self._terminating))
                loss.backward()
        return numbers

    def _there(self, batch: torch.Tensor) -> torch.Tensor:
        """A batch on the device. From pinned memory a GPU fetches it while the host goes on; else the host waits."""
        if self.ranks.device.type == "cuda":
            batch = batch.pin_memory()
        return batch.to(self.ranks.device, non_blocking=True)

    def _norm(self) -> torch.Tensor:
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), self.config.max_norm)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def _update(self, step: int) -> None:
        self._beat(step, "update")
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.schedule.rate(step)
        self.optimizer.step()

    def _save(self, step: int, *, wait: bool) -> None:
        self._beat(step, "checkpoint")
        state = {"bad": sorted(self.guard.bad)}
        self.checkpoints.save(step, tensors(self.objective, self.optimizer), state, wait=wait)

    def _resume(self) -> int | None:
        manifest = self.checkpoints.newest()
        if manifest is None:
            return None
        state = tensors(self.objective, self.optimizer)
        self.checkpoints.load(manifest, state)
        restore(self.objective, self.optimizer, state)
        self.guard.bad |= set(manifest.state["bad"])
        self.result.step = manifest.step
        log.info("resumed from step %d", manifest.step)
        return manifest.step

    def _roll_back(self, reason: str, *, undo: bool) -> None:
        """To the last checkpoint. Where there is none, the weights stay: as they were before this step, or spoiled.

        Args:
            reason: in words.
            undo: whether bad gradients have been applied.

        Raises:
            DivergedError: they have, and there is no checkpoint.
        """
        self.optimizer.zero_grad()
        self.checkpoints.finish()
        self.guard.returned()
        self.result.rolled_back += 1
        if self._resume() is None and undo:
            raise DivergedError(f"{reason}; there is no checkpoint any more to return to")

    def _alone(self) -> Any:
        """Gradients that are not exchanged yet."""
        no_sync = getattr(self.model, "no_sync", None)
        return no_sync() if no_sync is not None else nullcontext()

    def _precision(self) -> Any:
        return torch.autocast(self.ranks.device.type, torch.bfloat16) if self.config.bf16 else nullcontext()

    def _beat(self, step: int, phase: str) -> None:
        if self.heart is not None:
            self.heart.beat(step, phase)

    def _end(self, number: int, frame: object) -> None:
        self._terminating = True

    def _compiled(self, model: Loss) -> Loss:
        """Compiled, if the first call compiles."""
        compiled = torch.compile(model)

        def first(batch: torch.Tensor) -> torch.Tensor:
            try:
                loss: torch.Tensor = compiled(batch)
            except Exception as error:  # noqa: BLE001 - the compiler's errors are many; without it the model runs
                log.warning("not compiled: %s: %s", type(error).__name__, error)
                self.model = model
                return model(batch)
            self.model = compiled
            return loss

        return first
