"""The byte-level GPT for MLflow's scoring server: "models from code", nothing is unpickled.

MLflow keeps this file with the model, and runs it to rebuild it: with ``bulkhead[tasks]`` beside it, whose ``Gpt`` it
is. Its configuration (the shape) is logged beside it.
"""

from collections import defaultdict

import mlflow
import numpy as np
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from safetensors.torch import load_file

from bulkhead.gpu_tasks.gpt import Gpt, GptConfig

WEIGHTS = "weights"
"""Name of the artifact that holds the safetensors file."""

_AT_ONCE = 64


class GptModel(PythonModel):
    """Input: a column ``context`` of texts. Output: the probability of each byte to come next, shape (n, 256)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights and the shape.

        Args:
            context: MLflow's, with the artifacts and ``model_config``.
        """
        torch.set_num_threads(1)
        self._model = Gpt(GptConfig(**context.model_config))
        self._model.load_state_dict(load_file(context.artifacts[WEIGHTS]))
        self._model.eval()

    def predict(self, context, model_input, params=None):
        """Tell what comes next.

        Args:
            model_input: a DataFrame with ``context``: what came before, its last ``block`` bytes count. An empty text
                is one of a line break. (No type hint: MLflow would read a schema into it.)

        Returns:
            float32, shape (n, 256).
        """
        block = self._model.config.block
        texts = [text.encode()[-block:] or b"\n" for text in model_input["context"]]
        alike = defaultdict(list)  # of one length, so that nothing has to be padded
        for place, text in enumerate(texts):
            alike[len(text)].append(place)
        probabilities = np.empty((len(texts), 256), dtype=np.float32)
        for places in alike.values():
            for begin in range(0, len(places), _AT_ONCE):
                some = places[begin : begin + _AT_ONCE]
                tokens = np.stack([np.frombuffer(texts[place], np.uint8) for place in some]).astype(np.int64)
                with torch.inference_mode():
                    logits = self._model(torch.from_numpy(tokens))[:, -1]
                    probabilities[some] = torch.softmax(logits.float(), dim=-1).numpy()
        return probabilities


mlflow.models.set_model(GptModel())
