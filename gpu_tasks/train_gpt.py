"""``python -m bulkhead.gpu_tasks.train_gpt``: train the byte-level GPT on Python's sources; ranks by ``torchrun``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bulkhead.gpu_tasks import hang_watch, text
from bulkhead.gpu_tasks.data_checks import check_text
from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import ConfigError, PreemptedError
from bulkhead.gpu_tasks.gpt import SIZES, Gpt
from bulkhead.gpu_tasks.parallel import WAYS, Ranks, join_job
from bulkhead.gpu_tasks.schedule import Schedule
from bulkhead.gpu_tasks.stores.base import Store
from bulkhead.gpu_tasks.stores.find import store
from bulkhead.gpu_tasks.tracking import Run, Tracker
from bulkhead.gpu_tasks.trainer import TrainConfig, Trainer, TrainingSetup
from bulkhead.pods.training import CHECKPOINTS_VARIABLE, PROGRESS_VARIABLE, from_environment

CHECKED = "data-checked"
"""Beside the checkpoints: hash of the text that has passed its checks."""


class TextData:
    """Text as a trainer's data: each sample is a block, and the byte after it.

    Args:
        source: the text.
        block: bytes of a sample.
    """

    def __init__(self, source: text.Text, block: int) -> None:
        self.source, self._block = source, block
        self.size, self.data_hash = source.samples(block), source.data_hash

    def batch(self, indices: npt.NDArray[np.int64]) -> torch.Tensor:
        """Samples, shape (n, block + 1).

        Args:
            indices: of them, shape (n,).
        """
        return torch.from_numpy(self.source.blocks(indices, self._block))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and train.

    Args:
        argv: arguments; the process' own by default.
    """
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    run(lambda: train(arguments))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.train_gpt")
    parser.add_argument("--size", default="1m", help=f"one of {', '.join(SIZES)}")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32, help="samples of a step, of all ranks together")
    parser.add_argument(
        "--grad-accumulation-steps", type=int, default=1, help="parts that a rank's share is computed in"
    )
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--parallel", choices=WAYS, default="ddp")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--text", type=Path, help="folder of Python sources; by default the standard library")
    parser.add_argument("--most-bytes", type=int, help="of the text; all by default")
    parser.add_argument(
        "--checkpoints", default=from_environment(CHECKPOINTS_VARIABLE), help="folder or URL; all ranks see it"
    )
    parser.add_argument("--checkpoint-interval", type=int, default=100, help="steps between two checkpoints")
    parser.add_argument("--log-interval", type=int, default=10, help="steps between two reports")
    parser.add_argument("--weights", type=Path, help="safetensors file for the weights, once they are trained")
    parser.add_argument("--experiment", help="MLflow experiment; nothing is logged without one")
    parser.add_argument(
        "--flush-s", type=float, default=10, help="so long the end waits for MLflow; keep it within the grace period"
    )
    parser.add_argument(
        "--progress", type=Path, default=from_environment(PROGRESS_VARIABLE), help="for signs of progress"
    )
    parser.add_argument("--hang-s", type=float, default=600, help="so long a phase of a step may last")
    return parser


def train(
    arguments: argparse.Namespace, report_metrics: Callable[[int, Mapping[str, float]], None] | None = None
) -> Mapping[str, Any]:
    """Train.

    Args:
        arguments: of the command line.
        report_metrics: is told of a step's metrics, in place of whom the arguments name; None for these.

    Returns:
        How it went, as ``bulkhead.gpu_tasks.trainer.Result``, with ``data_hash`` and ``parameters``.

    Raises:
        ConfigError: an argument is out of range, or a checkpoint belongs to another training.
    """
    if arguments.checkpoints is None:
        raise ConfigError(f"checkpoints = None: give --checkpoints, or {CHECKPOINTS_VARIABLE} as operators do")
    if arguments.size not in SIZES:
        raise ConfigError(f"size = {arguments.size!r}: give one of {', '.join(SIZES)}")
    kept, shape = store(arguments.checkpoints), SIZES[arguments.size]
    config = TrainConfig(
        Schedule(arguments.learning_rate, arguments.steps, warmup=min(100, arguments.steps // 10)),
        batch=arguments.batch,
        grad_accumulation_steps=arguments.grad_accumulation_steps,
        parallel=arguments.parallel,
        bf16=arguments.bf16,
        compile=arguments.compile,
        seed=arguments.seed,
        checkpoint_interval=arguments.checkpoint_interval,
        log_interval=arguments.log_interval,
    )
    data = TextData(text.load(arguments.text, arguments.most_bytes), shape.block)

    def build(ranks: Ranks) -> TrainingSetup:
        def optimizer(parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=arguments.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)

        return TrainingSetup(Gpt(shape), optimizer, data, {"gpt": asdict(shape)})

    with join_job(arguments.progress) as ranks:
        if ranks.rank == 0:
            _check(data.source, kept)
        if arguments.progress is not None:
            first = ranks.local_rank == 0
            hang_watch.start(arguments.progress, ranks.rank, arguments.hang_s, first_of_node=first)
        params = {name: value for name, value in vars(arguments).items() if value is not None}
        params["data_hash"] = data.data_hash
        with _reporting(arguments.experiment, kept, ranks, params, arguments.flush_s) as (tell, run_id):
            trainer = Trainer(config, ranks, build, arguments.checkpoints, arguments.progress, report_metrics or tell)
            done = asdict(trainer.run())
            if arguments.weights is not None:
                trainer.export(arguments.weights)
        count = sum(parameter.numel() for parameter in trainer.objective.parameters())
        return {**done, "run_id": run_id(), "data_hash": data.data_hash, "parameters": count}


def _check(source: text.Text, kept: Store) -> None:
    """Check the text before anything is trained on it; once, however often the training is begun."""
    if kept.read_note(CHECKED) == source.data_hash:
        return
    report = check_text(source)
    if report.failed:
        raise ConfigError(f"data {source.data_hash[:12]}…: {'; '.join(report.failed)}; give text that passes")
    kept.write_note(CHECKED, source.data_hash)


@contextmanager
def _reporting(
    experiment: str | None, kept: Store, ranks: Ranks, params: Mapping[str, Any], flush_s: float
) -> Iterator[tuple[Callable[[int, Mapping[str, float]], None], Callable[[], str | None]]]:
    """Who is told of the metrics: people, and MLflow if an experiment is named. And which run that is."""
    if experiment is None or ranks.rank != 0:
        yield _print, lambda: None
        return
    mlflow = Run(experiment, params, remember=kept)
    tracker, status = Tracker(mlflow, kept), "FAILED"

    def report_metrics(step: int, metrics: Mapping[str, float]) -> None:
        _print(step, metrics)
        tracker.log(step, metrics)

    try:
        yield report_metrics, lambda: mlflow.run_id
        status = "FINISHED"
    except PreemptedError:
        status = "KILLED"
        raise
    finally:
        tracker.close(flush_s)
        mlflow.finish(status)


def _print(step: int, metrics: Mapping[str, float]) -> None:
    print(f"step {step}: " + ", ".join(f"{name} {value:.5g}" for name, value in metrics.items()), flush=True)


if __name__ == "__main__":
    main()
