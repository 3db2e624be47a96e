"""``python -m benchmarks.gpt``: what the trainer costs, against a bare loop of the same model in the same run.

Both train the byte-level GPT on all of this machine's first GPU, or on its CPUs. The trainer has everything on: guards,
checkpoints in the background, MLflow, signs of progress and the hang watch. Both print every tenth step; the time
between two of these lines is taken here, for both, once they have compiled and warmed up. Then the trainer is ended by
SIGKILL in the middle, and goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bulkhead.gpu_tasks.gpt import SIZES, Gpt
from bulkhead.gpu_tasks.meters import peak
from bulkhead.pods.outcome import PATH_VARIABLE, Outcome

BARS = {"ratio": 0.97}
_STEP = re.compile(r"^step (\d+): ")
_LEAST_STEPS = 60


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        seen: time in seconds by step, of the lines that it printed.
        result: that it left; empty for a loop that leaves none.
    """

    seen: dict[int, float]
    result: dict[str, Any]

    def steps_per_s(self, after: int) -> float:
        """How fast it was.

        Args:
            after: the first step that counts.
        """
        first, last = min(step for step in self.seen if step >= after), max(self.seen)
        return (last - first) / (self.seen[last] - self.seen[first])

    def typical_steps_per_s(self, after: int) -> float:
        """How fast it was between two lines, in the median: what comes now and then, as checkpoints do, is left out.

        Args:
            after: the first step that counts.
        """
        steps = sorted(step for step in self.seen if step >= after)
        pairs = itertools.pairwise(steps)
        return statistics.median((later - step) / (self.seen[later] - self.seen[step]) for step, later in pairs)


def run(folder: Path, program: str, arguments: Sequence[str], kill_at: int | None = None) -> Run:
    """Run one training to its end.

    Args:
        kill_at: end it by SIGKILL once it has printed that step; None for not.

    Raises:
        RuntimeError: it failed, and not because it was killed.
    """
    message = folder / "outcome"
    message.write_text("")
    environment = {**os.environ, PATH_VARIABLE: str(message), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    command = [sys.executable, "-m", program, *arguments]
    seen: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            match = _STEP.match(line)
            if match:
                seen[int(match[1])] = time.monotonic()
                if kill_at is not None and int(match[1]) >= kill_at:
                    process.send_signal(signal.SIGKILL)
                    break
    expected = 0 if kill_at is None else -signal.SIGKILL
    if process.returncode != expected:
        raise RuntimeError(f"{program} ended with {process.returncode}, not {expected}: {message.read_text()}")
    outcome = Outcome.decode(message.read_text())
    return Run(seen, dict(outcome.result) if outcome is not None else {})


def main() -> None:
    """Measure, and print one line of JSON."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(prog="benchmarks.gpt")
    parser.add_argument("--size", default="124m" if cuda else "1m", choices=SIZES)
    parser.add_argument("--batch", type=int, default=32 if cuda else 8)
    parser.add_argument("--steps", type=int, default=600 if cuda else 200)
    parser.add_argument(
        "--checkpoint-interval", type=int, default=150 if cuda else 50, help="steps between two checkpoints"
    )
    parser.add_argument("--rounds", type=int, default=2, help="of each; the best counts, as noise only slows")
    arguments = parser.parse_args()
    if arguments.steps < _LEAST_STEPS:
        parser.error(f"--steps {arguments.steps}: give at least {_LEAST_STEPS}, the first third is for warming up")
    print(json.dumps(_measured(arguments, cuda)))


def _measured(arguments: argparse.Namespace, cuda: bool) -> dict[str, Any]:
    warm = arguments.steps // 3
    shared = [f"--{name}={getattr(arguments, name)}" for name in ("size", "batch", "steps")]
    shared += ["--bf16", "--compile"] if cuda else []
    runs: dict[str, list[Run]] = {"bare": [], "trainer": []}
    with tempfile.TemporaryDirectory(prefix="bench-gpt-") as name:
        for number in range(arguments.rounds):
            folder = Path(name) / str(number)
            folder.mkdir()
            runs["bare"].append(run(folder, "benchmarks.bare_gpt", shared))
            whole = run(
                folder, "bulkhead.gpu_tasks.train_gpt", [*shared, *_everything(folder, arguments.checkpoint_interval)]
            )
            runs["trainer"].append(whole)
            _say(f"round {number + 1}: " + ", ".join(f"{n} {r[-1].steps_per_s(warm):.3f}" for n, r in runs.items()))
        folder = Path(name) / "killed"
        folder.mkdir()
        everything = [*shared, *_everything(folder, arguments.checkpoint_interval)]
        run(folder, "bulkhead.gpu_tasks.train_gpt", everything, kill_at=arguments.steps // 2)
        begin = time.monotonic()
        again = run(folder, "bulkhead.gpu_tasks.train_gpt", everything)
    sample = Gpt(SIZES[arguments.size]).flops_a_sample()
    bare, trainer = (arguments.batch * max(repeat.steps_per_s(warm) for repeat in repeats) for repeats in runs.values())
    typical = [max(repeat.typical_steps_per_s(warm) for repeat in repeats) for repeats in runs.values()]
    most = peak(torch.cuda.get_device_name()) if cuda else None
    losses = [repeat.result["loss"] for repeat in runs["trainer"]]
    block, result = SIZES[arguments.size].block, whole.result
    ratio = trainer / bare
    return {
        "metric": "gpt",
        "device": torch.cuda.get_device_name() if cuda else f"{os.cpu_count()} CPUs",
        "versions": {name: version(name) for name in ("torch", "safetensors")},
        "size": arguments.size,
        "tokens_per_s": round(trainer * block),
        "bare_tokens_per_s": round(bare * block),
        "ratio": round(ratio, 4),
        "ratio_between_checkpoints": round(typical[1] / typical[0], 4),
        "mfu": round(trainer * sample / most, 4) if most else None,
        "stall": round(result["stalled_s"] / result["trained_s"], 5),
        "resumed_from": again.result["resumed_from"],
        "resume_s": round(min(again.seen.values()) - begin, 1),
        "loss_apart": abs(again.result["loss"] - result["loss"]),
        "loss_apart_uninterrupted": max(losses) - min(losses),  # a GPU's sums come in any order
        "bars": BARS,
        "held": ratio >= BARS["ratio"],
    }


def _everything(folder: Path, checkpoint_interval: int) -> list[str]:
    options = {
        "checkpoints": folder / "checkpoints",
        "progress": folder / "progress",
        "checkpoint-interval": checkpoint_interval,
        "experiment": "gpt",
    }
    return [f"--{name}={value}" for name, value in options.items()]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
