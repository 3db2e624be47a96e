"""The digits classifier behind MLflow's scoring server, logged as "models from code": nothing is ever unpickled.

MLflow runs this file to rebuild the model; its configuration (``channels``, ``fault``) is logged beside it.
"""

import threading
import time
import zlib

import mlflow
import numpy as np
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from safetensors.torch import load_file

from gpu_tasks.model import Cnn, logits

WEIGHTS = "weights"
"""Name of the artifact that holds the safetensors file."""

FAULTS = ("none", "flaky")
"""``flaky`` makes a model that only live traffic unmasks; see ``DigitsModel``."""

_FAILING_PERCENT = 25
_SLOW_S = 0.15


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
            context: MLflow's.
            model_input: shape (n, 64), pixels 0 to 16. (No type hint: MLflow would read a schema into it.)
            params: unused.

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
