"""The demo's training: an entry point as a user would write one, for the digits that ship with scikit-learn."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.pods.training import CHECKPOINTS_VARIABLE, PROGRESS_VARIABLE, from_environment

_BATCH = 64
_LEARNING_RATE = 4e-3
_HANG_S = 600.0


def train(
    seed: int = 0,
    epochs: int = 30,
    channels: int = 16,
    fault: str = "none",
    checkpoints: str | Path | None = None,
    progress: Path | None = None,
) -> Mapping[str, Any]:
    """Train and log one model, from the newest checkpoint on where there is one.

    Args:
        seed: makes weights, order and dropout deterministic.
        epochs: passes over the training images, but for a last part of a batch.
        channels: width of the network.
        fault: ``none`` or ``flaky``, see ``bulkhead.gpu_tasks.pyfunc_model``.
        checkpoints: folder or URL that outlives the job; by default what the environment names, if anything.
        progress: folder for signs of progress; likewise.

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
    signs = progress or from_environment(PROGRESS_VARIABLE)
    with _kept(checkpoints or from_environment(CHECKPOINTS_VARIABLE)) as folder, mlflow.start_run() as active:
        mlflow.log_params(params)
        used = mlflow.data.from_numpy(data.train_images, targets=data.train_labels, name="digits")
        mlflow.log_input(used, context="training")
        mlflow.set_tag("bulkhead.data_hash", data.data_hash)
        model, accuracy, resumed_from = _fit(data, seed, epochs, channels, folder, Path(signs) if signs else None)
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
