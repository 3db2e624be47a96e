"""A job's ranks: who they are, how a model is shared between them, and what of it a checkpoint holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from bulkhead.gpu_tasks import flight_recorder
from bulkhead.gpu_tasks.errors import ConfigError

WAYS = ("ddp", "fsdp2")
"""Ways to share a model: every rank has all of it, or a part of each weight."""

_OPTIONS = StateDictOptions(flatten_optimizer_state_dict=True)


@dataclass(frozen=True)
class Ranks:
    """Who takes part in a training.

    Attributes:
        rank: of this process.
        local_rank: of this process among those of its node.
        count: how many there are.
        device: that this one works on.
    """

    rank: int
    local_rank: int
    count: int
    device: torch.device

    def mean(self, *numbers: torch.Tensor | float) -> list[float]:
        """The mean of some numbers over all ranks."""
        return self.mean_soon(*numbers)()

    def mean_soon(self, *numbers: torch.Tensor | float) -> Callable[[], list[float]]:
        """Have the mean of some numbers over all ranks computed, and go on.

        Returns:
            What waits for them, and not for anything that the device is given to do meanwhile.
        """
        gathered = torch.stack([self._here(number) for number in numbers])
        if self.count > 1:
            dist.all_reduce(gathered)
            gathered /= self.count
        if self.device.type != "cuda":
            return gathered.tolist
        here, copied = gathered.to("cpu", non_blocking=True), torch.cuda.Event()
        copied.record()

        def wait() -> list[float]:
            copied.synchronize()
            return here.tolist()

        return wait

    def _here(self, number: torch.Tensor | float) -> torch.Tensor:
        """As a tensor of the device. A number is filled in there: to copy it, the host would wait for the device."""
        if isinstance(number, torch.Tensor):
            return number.detach().to(self.device, torch.float64)
        return torch.full((), number, dtype=torch.float64, device=self.device)


@contextmanager
def join_job(progress: Path | None = None) -> Iterator[Ranks]:
    """Take part in a job: of several ranks where ``torchrun`` has started this process, else alone.

    Args:
        progress: folder of the job's signs of progress, where NCCL leaves what it did if the job hangs; None for none.
    """
    cuda = torch.cuda.is_available()
    rank, local_rank = int(os.environ.get("RANK", 0)), int(os.environ.get("LOCAL_RANK", 0))
    count = int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count > 1:
        if cuda and progress is not None:
            flight_recorder.prepare(progress)
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield Ranks(rank, local_rank, count, device)
    finally:
        if count > 1:
            dist.destroy_process_group()


class Objective(nn.Module):
    """A model as what is trained: its loss. The root of whatever shares it, so that every call passes through that.

    Args:
        model: with a method ``loss(batch)``.
    """

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The mean loss of a batch.

        Args:
            batch: of samples, as the model's ``loss`` takes them.
        """
        loss: torch.Tensor = self.model.loss(batch)
        return loss


def share(objective: Objective, ranks: Ranks, way: str, bf16: bool) -> nn.Module:
    """Share a model between ranks. Parameters may be others afterwards: make the optimizer after it.

    Args:
        objective: to be shared; on its device.
        way: one of ``WAYS``.
        bf16: whether it computes in bfloat16.

    Returns:
        What is to be called.

    Raises:
        ConfigError: there is no such way.
    """
    if way not in WAYS:
        raise ConfigError(f"parallel = {way!r}: give one of {', '.join(WAYS)}")
    if ranks.count == 1:
        return objective
    if way == "ddp":
        return DistributedDataParallel(objective)
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy()
    for block in getattr(objective.model, "blocks", ()):
        fully_shard(block, mp_policy=policy)
    fully_shard(objective, mp_policy=policy)
    return objective


def tensors(objective: Objective, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What a checkpoint holds of model and optimizer: their tensors, this rank's shards of those that are shared."""
    model, optim = get_state_dict(objective, optimizer, options=_OPTIONS)
    return {"model": model, "optimizer": {name: tensor for name, tensor in optim.items() if torch.is_tensor(tensor)}}


def weights(objective: Objective) -> dict[str, torch.Tensor]:
    """The model's weights, whole, in this machine's memory, by the names that the model has for them.

    Args:
        objective: that is trained. Every rank has to ask.

    Returns:
        On the first rank; nothing on the others where the weights are shared.
    """
    tensors: Mapping[str, Any] = get_model_state_dict(
        objective, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    # A file holds each of them for itself: what two names share in the model is written for both.
    return {name.removeprefix("model."): tensor.contiguous().clone() for name, tensor in tensors.items()}


def restore(objective: Objective, optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Put back what ``tensors`` has given. The optimizer's numbers that are no tensors are the configuration's.

    Args:
        saved: filled from a checkpoint.
    """
    _, now = get_state_dict(objective, optimizer, options=_OPTIONS)
    set_state_dict(
        objective,
        optimizer,
        model_state_dict=saved["model"],
        optim_state_dict={**now, **saved["optimizer"]},
        options=_OPTIONS,
    )
