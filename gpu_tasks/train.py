"""``python -m bulkhead.gpu_tasks.train``: train the digits CNN, log it to MLflow, leave an outcome."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bulkhead.gpu_tasks.entry import run
from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.pods.training import CHECKPOINTS_VARIABLE, PROGRESS_VARIABLE, from_environment

_BATCH = 64
_LEARNING_RATE = 4e-3
_HANG_S = 600.0


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and train.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="bulkhead.gpu_tasks.train")
    parser.add_argument("--experiment", required=True, help="MLflow experiment")
    parser.add_argument("--seed", type=int, default=0, help="makes the training deterministic")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--channels", type=int, default=16, help="width of the network")
    parser.add_argument("--fault", default="none", help="none, or flaky: see bulkhead.gpu_tasks.pyfunc_model")
    parser.add_argument(
        "--checkpoints", default=from_environment(CHECKPOINTS_VARIABLE), help="folder or URL that outlives the job"
    )
    parser.add_argument(
        "--progress", type=Path, default=from_environment(PROGRESS_VARIABLE), help="for signs of progress"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    run(lambda: train(**vars(arguments)))


def train(
    experiment: str,
    seed: int,
    epochs: int,
    channels: int,
    fault: str,
    checkpoints: str | Path | None = None,
    progress: Path | None = None,
) -> Mapping[str, Any]:
    """Train and log one model, from the newest checkpoint on where there is one.

    Args:
        seed: makes weights, order and dropout deterministic.
        epochs: passes over the training images, but for a last part of a batch.
        channels: width of the network.
        fault: ``none`` or ``flaky``.
        checkpoints: folder or URL that outlives the job; None for none.
        progress: folder for signs of progress; None for none.

    Returns:
        ``run_id``, ``experiment_id``, ``model_uri``, ``accuracy`` (on the test images), ``data_hash``, ``device``, and
        the step ``resumed_from``.

    Raises:
        ConfigError: an argument is out of range, or a checkpoint belongs to another training.
        GateError: the data are not what they should be.
    """
    if epochs < 1 or channels < 1:
        raise ConfigError(f"epochs = {epochs}, channels = {channels}: give at least 1 of each")

    import mlflow
    import torch

    from bulkhead.gpu_tasks import digits
    from bulkhead.gpu_tasks.data_checks import check_digits
    from bulkhead.gpu_tasks.pyfunc_model import FAULTS

    if fault not in FAULTS:
        raise ConfigError(f"fault = {fault!r}: give one of {', '.join(FAULTS)}")
    data = digits.load()
    if failed := check_digits(data).failed:
        raise GateError(f"data checks failed: {'; '.join(failed)}")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # with more, the order of sums depends on what else runs, a checkpoint's thread for one
    device = "cuda" if torch.cuda.is_available() else "cpu"
    params = {"seed": seed, "epochs": epochs, "channels": channels, "fault": fault, "device": device}
    mlflow.set_experiment(experiment)
    with _kept(checkpoints) as folder, mlflow.start_run() as active:
        mlflow.log_params(params)
        mlflow.set_tag("bulkhead.data_hash", data.data_hash)
        model, accuracy, resumed_from = _fit(data, seed, epochs, channels, folder, progress)
        return {
            "run_id": active.info.run_id,
            "experiment_id": active.info.experiment_id,
            "model_uri": _log_model(model.cpu(), data, channels, fault),
            "accuracy": round(accuracy, 4),
            "data_hash": data.data_hash,
            "device": device,
            "resumed_from": resumed_from,
        }


@contextmanager
def _kept(checkpoints: str | Path | None) -> Iterator[str | Path]:
    """Where checkpoints go: a folder that ends with the job, where none was named."""
    if checkpoints is not None:
        yield checkpoints
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _fit(
    data: Any, seed: int, epochs: int, channels: int, folder: str | Path, progress: Path | None
) -> tuple[Any, float, int | None]:
    """The trained network, its accuracy on the test images, and the step that it has gone on from."""
    import mlflow
    import torch

    from bulkhead.gpu_tasks import hang_watch
    from bulkhead.gpu_tasks.guards import GuardAction, GuardPolicy
    from bulkhead.gpu_tasks.model import LabelledImages, Learner
    from bulkhead.gpu_tasks.parallel import Ranks, join_job
    from bulkhead.gpu_tasks.pyfunc_model import Cnn
    from bulkhead.gpu_tasks.schedule import Schedule
    from bulkhead.gpu_tasks.trainer import TrainConfig, Trainer, TrainingSetup

    images = LabelledImages(data.train_images, data.train_labels, data.data_hash)
    epoch = images.size // _BATCH  # in steps
    # The losses of a network that is nearly always right jump by nature: its guards look for what is no number.
    config = TrainConfig(
        Schedule(_LEARNING_RATE, epoch * epochs, floor=0.0),
        batch=_BATCH,
        seed=seed,
        guards=GuardPolicy(spike=GuardAction.GO_ON),
        checkpoint_interval=epoch * max(1, epochs // 3),
        log_interval=epoch,
    )

    def build(ranks: Ranks) -> TrainingSetup:
        def optimizer(parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.Adam(parameters, lr=_LEARNING_RATE)

        return TrainingSetup(Learner(Cnn(channels)), optimizer, images, {"digits": {"channels": channels}})

    def report_metrics(step: int, metrics: Mapping[str, float]) -> None:
        accuracy = trainer.objective.model.accuracy(data.test_images, data.test_labels)
        values = {"train_loss": metrics["loss"], "test_accuracy": accuracy}
        mlflow.log_metrics(values, step=step // epoch - 1)
        print(f"epoch {step // epoch}/{epochs}: loss {metrics['loss']:.4f}, test accuracy {accuracy:.4f}", flush=True)

    with join_job(progress) as ranks:
        if progress is not None:
            hang_watch.start(progress, ranks.rank, _HANG_S, first_of_node=ranks.local_rank == 0)
        trainer = Trainer(config, ranks, build, folder, progress, report_metrics)
        result = trainer.run()
        learner = trainer.objective.model
        return learner.network, learner.accuracy(data.test_images, data.test_labels), result.resumed_from


def _log_model(model: Any, data: Any, channels: int, fault: str) -> str:
    import mlflow
    from mlflow.models import infer_signature
    from safetensors.torch import save_file

    from bulkhead.gpu_tasks import pyfunc_model

    example = data.test_images[:2]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "model.safetensors"
        save_file(model.state_dict(), weights)
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=pyfunc_model.__file__,
            model_config={"channels": channels, "fault": fault},
            artifacts={pyfunc_model.WEIGHTS: str(weights)},
            signature=infer_signature(example, data.test_labels[:2]),
            input_example=example,
            pip_requirements=["mlflow", "torch", "safetensors", "scikit-learn", "numpy"],
        )
    return str(info.model_uri)


if __name__ == "__main__":
    main()
