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

    found = AT_K.fullmatch(name)
    if found is not None:
        known = getattr(mlflow.metrics, f"{found[1]}_at_k")(int(found[2]))
    else:
        known = getattr(mlflow.metrics, name)()
    return by_row(name, _scores(name, known.eval_fn), bool(known.greater_is_better), lists=found is not None)


def _scores(name: str, compute: Callable[[Any, Any], Any]) -> Callable[[Array, Array], Any]:
    def scores(targets: Array, predictions: Array) -> Any:
        heard, logger = _Heard(), logging.getLogger(_LOGGER)
        logger.addHandler(heard)
        try:
            found = compute(pd.Series(predictions.tolist()), pd.Series([_plain(target) for target in targets]))
        finally:
            logger.removeHandler(heard)
        if found is None or found.scores is None:
            raise ConfigError(f"metrics: {name!r} cannot be computed in this pod: {'; '.join(heard.said)}")
        return found.scores

    return scores


def _plain(target: Any) -> Any:
    """A list as such: Parquet gives arrays."""
    return target.tolist() if hasattr(target, "tolist") else target
