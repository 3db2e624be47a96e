"""The digits classifier, a small torch CNN, for MLflow's scoring server: "models from code", nothing is unpickled.

MLflow keeps this file with the model, and runs it to rebuild it, also where Bulkhead is not installed: it imports
nothing of ours. Its configuration (``channels``, ``fault``) is logged beside it.
"""

import threading
import time
import zlib

import mlflow
import numpy as np
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from safetensors.torch import load_file
from torch import nn

WEIGHTS = "weights"
"""Name of the artifact that holds the safetensors file."""

FAULTS = ("none", "flaky")
"""``flaky`` makes a model that only live traffic unmasks; see ``DigitsModel``."""

_FAILING_PERCENT = 25
_SLOW_S = 0.15


class Cnn(nn.Sequential):
    """Two convolutions and a linear layer: 8x8 grey image to ten logits.

    Args:
        channels: of the first convolution; the second has twice as many.
    """

    def __init__(self, channels: int = 16) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(2 * channels * 16, 10),
        )


def logits(model: nn.Module, images: np.ndarray) -> torch.Tensor:
    """Scale pixels and apply the network.

    Args:
        model: of ``Cnn``'s signature.
        images: shape (n, 64), pixels 0 to 16.

    Returns:
        float32, shape (n, 10).
    """
    scores: torch.Tensor = model(torch.from_numpy(np.ascontiguousarray(images)) / 16)
    return scores


class DigitsModel(PythonModel):
    """Input: (n, 64) float32. Output: n digits.

    With ``fault="flaky"`` it is a bad release of the kind that offline evaluation does not see: right on
    batches, but of *single* images, which is how clients ask, a quarter raise, and the others wait for one
    lock around a slow step, so that latency grows with the load. The DAG's param ``fault`` sets it.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights and the configuration.

        Args:
            context: MLflow's, with the artifacts and ``model_config``.
        """
        torch.set_num_threads(1)
        self._fault = context.model_config["fault"]
        self._model = Cnn(context.model_config["channels"])
        self._model.load_state_dict(load_file(context.artifacts[WEIGHTS]))
        self._model.eval()
        self._slow = threading.Lock()

    def predict(self, context, model_input, params=None):
        """Classify images.

        Args:
            model_input: shape (n, 64), pixels 0 to 16. (No type hint: MLflow would read a schema into it.)

        Returns:
            int64, shape (n,).

        Raises:
            RuntimeError: by design, from a flaky model.
        """
        images = np.asarray(model_input, dtype=np.float32)
        if self._fault == "flaky" and len(images) == 1:
            if zlib.crc32(images.tobytes()) % 100 < _FAILING_PERCENT:
                raise RuntimeError("feature lookup failed for a single image")
            with self._slow:
                time.sleep(_SLOW_S)  # the fault itself, not a synchronisation
        with torch.inference_mode():
            return logits(self._model, images).argmax(1).numpy()


mlflow.models.set_model(DigitsModel())
