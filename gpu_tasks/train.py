"""``python -m gpu_tasks.train``: train the digits CNN, log it to MLflow, leave an outcome."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_tasks.entry import ConfigError, run


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and train.

    Args:
        argv: arguments; the process' own by default.
    """
    parser = argparse.ArgumentParser(prog="gpu_tasks.train")
    parser.add_argument("--experiment", required=True, help="MLflow experiment")
    parser.add_argument("--seed", type=int, default=0, help="makes the training deterministic")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--channels", type=int, default=16, help="width of the network")
    parser.add_argument("--fault", default="none", help="none, or flaky: see gpu_tasks.model")
    arguments = parser.parse_args(argv)
    run(lambda: train(**vars(arguments)))


def train(experiment: str, seed: int, epochs: int, channels: int, fault: str) -> Mapping[str, Any]:
    """Train and log one model.

    Args:
        experiment: MLflow experiment.
        seed: makes weights, order and dropout deterministic.
        epochs: passes over the training images.
        channels: width of the network.
        fault: ``none`` or ``flaky``.

    Returns:
        ``run_id``, ``model_uri``, ``accuracy`` (on the test images), ``data_hash``, ``device``.

    Raises:
        ConfigError: an argument is out of range.
    """
    if epochs < 1 or channels < 1:
        raise ConfigError(f"epochs = {epochs}, channels = {channels}: give at least 1 of each")

    import mlflow
    import torch

    from gpu_tasks import digits
    from gpu_tasks.model import Cnn
    from gpu_tasks.pyfunc_model import FAULTS

    if fault not in FAULTS:
        raise ConfigError(f"fault = {fault!r}: give one of {', '.join(FAULTS)}")
    data = digits.load()
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Cnn(channels).to(device)
    mlflow.set_experiment(experiment)
    with mlflow.start_run() as active:
        mlflow.log_params({"seed": seed, "epochs": epochs, "channels": channels, "fault": fault, "device": device})
        mlflow.set_tag("bulkhead.data_hash", data.data_hash)
        accuracy = _fit(model, data, epochs, device)
        uri = _log_model(model.cpu(), data, channels, fault)
        return {
            "run_id": active.info.run_id,
            "model_uri": uri,
            "accuracy": round(accuracy, 4),
            "data_hash": data.data_hash,
            "device": device,
        }


def _fit(model: Any, data: Any, epochs: int, device: str) -> float:
    import mlflow
    import torch

    images = torch.from_numpy(data.train_images).to(device) / 16.0
    labels = torch.from_numpy(data.train_labels).to(device)
    test = torch.from_numpy(data.test_images).to(device) / 16.0
    expected = torch.from_numpy(data.test_labels).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    accuracy = 0.0
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(images), device="cpu").to(device).split(64):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        model.eval()
        with torch.inference_mode():
            accuracy = (model(test).argmax(1) == expected).float().mean().item()
        mlflow.log_metrics({"train_loss": total / len(images), "test_accuracy": accuracy}, step=epoch)
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(images):.4f}, test accuracy {accuracy:.4f}")
    return accuracy


def _log_model(model: Any, data: Any, channels: int, fault: str) -> str:
    import mlflow
    from mlflow.models import infer_signature
    from safetensors.torch import save_file

    from gpu_tasks import pyfunc_model

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
            code_paths=[str(Path(pyfunc_model.__file__).parent)],
            pip_requirements=["mlflow", "torch", "safetensors", "scikit-learn", "numpy"],
        )
    return str(info.model_uri)


if __name__ == "__main__":
    main()
