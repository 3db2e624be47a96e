"""Real torch, real MLflow: one short training for the module, and what it must have left."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from safetensors.numpy import load_file

from bulkhead.gpu_tasks import digits
from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.gpu_tasks.train import train

_EPOCHS = 12


def _train(**more: Any) -> dict[str, Any]:
    return dict(train(**{"seed": 0, "epochs": _EPOCHS, "channels": 16, "fault": "none", **more}))


@pytest.fixture(scope="module")
def trained(mlflow_uri: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(mlflow_uri)
    return _train()


@pytest.fixture(scope="module")
def model_folder(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(mlflow.artifacts.download_artifacts(trained["model_uri"], dst_path=str(tmp_path_factory.mktemp("m"))))


def test_it_reaches_the_accuracy(trained: dict[str, Any]) -> None:
    assert trained["accuracy"] >= 0.97
    assert trained["data_hash"] == digits.load().data_hash


def test_parameters_and_metrics_per_epoch_are_in_mlflow(trained: dict[str, Any]) -> None:
    client = mlflow.MlflowClient()
    run = client.get_run(trained["run_id"])
    assert run.data.params == {"seed": "0", "epochs": "12", "channels": "16", "fault": "none", "device": "cpu"}
    assert run.data.tags["bulkhead.data_hash"] == trained["data_hash"]
    for name in ("train_loss", "test_accuracy"):
        history = client.get_metric_history(trained["run_id"], name)
        assert [point.step for point in history] == list(range(_EPOCHS))


def test_the_model_is_safetensors_and_code_with_nothing_pickled(model_folder: Path) -> None:
    files = {path.name for path in model_folder.rglob("*") if path.is_file()}
    assert "model.safetensors" in files
    assert not [name for name in files if name.endswith((".pkl", ".pt", ".pth", ".pickle"))]
    weights = load_file(next(model_folder.rglob("model.safetensors")))
    assert all(np.isfinite(value).all() for value in weights.values())


def test_the_model_has_signature_and_input_example(model_folder: Path, trained: dict[str, Any]) -> None:
    info = mlflow.models.get_model_info(trained["model_uri"])
    assert info.signature is not None
    example = json.loads((model_folder / "input_example.json").read_text())
    assert np.asarray(example).shape == (2, digits.PIXELS)


def test_the_model_predicts_what_was_trained(trained: dict[str, Any]) -> None:
    data = digits.load()
    predicted = mlflow.pyfunc.load_model(trained["model_uri"]).predict(data.test_images)
    assert (predicted == data.test_labels).mean() == pytest.approx(trained["accuracy"], abs=1e-4)


def test_the_model_needs_nothing_of_ours(model_folder: Path, tmp_path: Path) -> None:
    code = "import sys, mlflow, numpy; sys.modules['bulkhead'] = None; m = mlflow.pyfunc.load_model(sys.argv[1]);"
    code += "print(m.predict(numpy.zeros((1, 64), numpy.float32)).shape)"
    command = [sys.executable, "-c", code, str(model_folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.stdout == "(1,)\n", done.stderr


def test_a_seed_makes_it_deterministic(trained: dict[str, Any], model_folder: Path, tmp_path: Path) -> None:
    again = _train()
    other = Path(mlflow.artifacts.download_artifacts(again["model_uri"], dst_path=str(tmp_path)))
    first, second = (load_file(next(folder.rglob("model.safetensors"))) for folder in (model_folder, other))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_training_that_was_interrupted_ends_as_it_would_have(
    trained: dict[str, Any], model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InterruptedError(Exception):
        """What ends the first try."""

    def interrupt(values: dict[str, float], step: int) -> None:
        if step == 8:
            raise InterruptedError

    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(mlflow, "log_metrics", interrupt)
        _train(checkpoints=tmp_path / "checkpoints")
    again = _train(checkpoints=tmp_path / "checkpoints")
    assert (again["resumed_from"], trained["resumed_from"]) == (8 * 21, None)
    assert again["accuracy"] == trained["accuracy"]
    other = Path(mlflow.artifacts.download_artifacts(again["model_uri"], dst_path=str(tmp_path)))
    first, second = (load_file(next(folder.rglob("model.safetensors"))) for folder in (model_folder, other))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_checkpoint_of_another_training_is_refused(trained: dict[str, Any], tmp_path: Path) -> None:
    _train(epochs=1, checkpoints=tmp_path)
    with pytest.raises(ConfigError, match="belongs to"):
        _train(epochs=2, seed=1, checkpoints=tmp_path)


def test_a_flaky_model_is_right_on_batches_and_fails_on_single_images(mlflow_uri: str) -> None:
    mlflow.set_tracking_uri(mlflow_uri)
    flaky = mlflow.pyfunc.load_model(_train(epochs=1, fault="flaky")["model_uri"])
    data = digits.load()
    assert len(flaky.predict(data.test_images)) == len(data.test_images)
    failed = 0
    for image in itertools.islice(data.test_images, 20):
        try:
            flaky.predict(image[None])
        except RuntimeError as error:
            assert "feature lookup failed" in str(error)
            failed += 1
    assert 0 < failed < 20


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"channels": 0}, "channels = 0"),
        ({"fault": "evil"}, "fault = 'evil': give one of none, flaky"),
    ],
)
def test_bad_input_is_refused_before_a_run_begins(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        _train(**arguments)


def test_defective_data_are_not_trained_on(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits.load()
    data.train_images[0, 0] = 99.0
    monkeypatch.setattr(digits, "load", lambda: data)
    with pytest.raises(GateError, match=r"data checks failed: .*pixel_00: saw \[99\.0\]"):
        train(seed=0, epochs=1, channels=1, fault="none")
