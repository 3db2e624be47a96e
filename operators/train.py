"""The train stage."""

from __future__ import annotations

from typing import Any

from bulkhead import arguments
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.templates import check_known


class TrainOperator(PodOperator):
    """Trains a model in a GPU pod.

    It returns ``run_id``, ``experiment_id``, ``model_uri``, ``accuracy`` and ``data_hash``.

    Args:
        experiment: MLflow experiment.
        seed: makes the training deterministic; templated.
        epochs: passes over the data; templated.
        fault: ``none``, or ``flaky`` for a model that fails under live traffic; templated.
        kwargs: of ``PodOperator``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    def __init__(
        self, *, experiment: str, seed: int | str = 0, epochs: int | str = 30, fault: str = "none", **kwargs: Any
    ) -> None:
        arguments.text("experiment", experiment)
        for name, value, least in (("seed", seed, 0), ("epochs", epochs, 1)):
            check_known(arguments.whole, name, value, least)
        check_known(arguments.text, "fault", fault)
        command = ["python", "-m", "bulkhead.gpu_tasks.train", "--experiment", experiment]
        command += ["--seed", str(seed), "--epochs", str(epochs), "--fault", fault]
        super().__init__(command=command, **kwargs)
