"""Metrics of words and of lists, as MLflow computes them row by row (``mlflow.metrics``)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pandas as pd

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.metrics import Array, Metric, by_row
from bulkhead.gpu_tasks.gate.request import AT_K

_LOGGER = "mlflow.metrics.metric_definitions"
"""Where MLflow says why it leaves a metric out."""


class _Heard(logging.Handler):
    """Keeps what is logged. Attributes: said."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def metric(name: str) -> Metric:
    """A metric of MLflow's.

    Args:
        name: one of ``request.TEXT_NAMES``, or ``precision_at_5`` and the like (``request.AT_K``).

    Returns:
        The metric; its contributions raise ``ConfigError`` where MLflow cannot compute it, with MLflow's reason: a
        package that the image lacks, for instance.
    """
    import mlflow.metrics

    at_k = AT_K.fullmatch(name)
    if at_k is not None:
        definition = getattr(mlflow.metrics, f"{at_k[1]}_at_k")(int(at_k[2]))
    else:
        definition = getattr(mlflow.metrics, name)()
    return by_row(name, _scores(name, definition.eval_fn), bool(definition.greater_is_better), lists=at_k is not None)


def _scores(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[Array, Array], Any]:
    def scores(targets: Array, predictions: Array) -> Any:
        heard, logger = _Heard(), logging.getLogger(_LOGGER)
        logger.addHandler(heard)
        try:
            values = compute(pd.Series(predictions.tolist()), pd.Series([_plain(target) for target in targets]))
        finally:
            logger.removeHandler(heard)
        if values is None or values.scores is None:
            raise ConfigError(f"metrics: {name!r} cannot be computed in this pod: {'; '.join(heard.said)}")
        return values.scores

    return scores


def _plain(target: Any) -> Any:
    """A list as such: Parquet gives arrays."""
    return target.tolist() if hasattr(target, "tolist") else target
