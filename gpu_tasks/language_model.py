"""A language model for ``TrainOperator``: an entry point that trains the byte-level GPT and logs it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gpt import SIZES


def train(
    size: str = "100k",
    steps: int = 300,
    batch: int = 16,
    seed: int = 0,
    learning_rate: float = 3e-3,
    most_bytes: int = 8_000_000,
) -> Mapping[str, Any]:
    """Train and log one model, from the newest checkpoint on where there is one. On several nodes rank 0 logs it.

    Args:
        size: one of ``bulkhead.gpu_tasks.gpt.SIZES``.
        steps: of the training.
        batch: samples of a step, of all ranks together.
        seed: makes weights and order deterministic.
        learning_rate: at its height.
        most_bytes: of the text: the standard library of Python, but for one file in ten.

    Returns:
        ``model_uri``, ``loss`` (nats a byte, of the last report), ``parameters``, ``data_hash``.

    Raises:
        ConfigError: an argument is out of range, the text fails its checks, or a checkpoint is of another training.
    """
    if size not in SIZES:
        raise ConfigError(f"size = {size!r}: give one of {', '.join(SIZES)}")

    import mlflow

    from bulkhead.gpu_tasks import train_gpt

    first = os.environ.get("RANK") in (None, "0")
    seen: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "model.safetensors"
        words = ["--size", size, "--steps", steps, "--batch", batch, "--seed", seed, "--most-bytes", most_bytes]
        words += ["--learning-rate", learning_rate, "--checkpoint-interval", max(1, steps // 4), "--weights", weights]
        words += ["--log-interval", max(1, min(10, steps // 4))]
        arguments = train_gpt.parser().parse_args([str(word) for word in words])
        if arguments.checkpoints is None:
            arguments.checkpoints = str(Path(folder) / "checkpoints")
        if not first:
            return train_gpt.train(arguments)
        with mlflow.start_run():
            mlflow.log_params({"size": size, "steps": steps, "batch": batch, "seed": seed, "rate": learning_rate})

            def report_metrics(step: int, metrics: Mapping[str, float]) -> None:
                seen.update(metrics)
                mlflow.log_metrics(dict(metrics), step=step)
                print(f"step {step}/{steps}: loss {metrics['loss']:.4f} nats a byte", flush=True)

            done = train_gpt.train(arguments, report_metrics)
            _log_data(most_bytes)
            uri = _log_model(weights, size)
    kept = {name: done[name] for name in ("parameters", "data_hash", "resumed_from")}
    return {"model_uri": uri, "loss": round(seen.get("loss", float("nan")), 4), **kept}


def _log_data(most_bytes: int) -> None:
    import mlflow

    from bulkhead.gpu_tasks import text

    used = mlflow.data.from_numpy(text.load(most_bytes=most_bytes).train, name="python-sources")
    mlflow.log_input(used, context="training")


def _log_model(weights: Path, size: str) -> str:
    import mlflow
    import numpy as np
    import pandas as pd
    from mlflow.models import infer_signature

    from bulkhead.gpu_tasks import gpt_pyfunc

    example = pd.DataFrame({"context": ["def main(", "import "]})
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=gpt_pyfunc.__file__,
        model_config=asdict(SIZES[size]),
        artifacts={gpt_pyfunc.WEIGHTS: str(weights)},
        signature=infer_signature(example, np.zeros((2, 256), dtype=np.float32)),
        input_example=example,
        pip_requirements=["mlflow", "torch", "safetensors", "numpy", "bulkhead"],
    )
    return str(info.model_uri)
