"""Metrics, each as a function of means of what every row contributes, so that they can be resampled (``resampling``).

Names, and what they mean, are those of MLflow's evaluators and of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from bulkhead.gpu_tasks.errors import GateError

Array = np.ndarray[Any, Any]

_LEAST_PROBABILITY = 1e-15
"""Nearer to 0 no probability counts, as in scikit-learn's ``log_loss``."""


@dataclass(frozen=True)
class Metric:
    """A metric of predictions against targets.

    Attributes:
        name: MLflow's.
        greater_is_better: direction.
        contributions: what each row adds, from targets of shape (rows,) and predictions of shape (rows,) or, for
            probabilities by class, (rows, classes); returns shape (rows, columns).
        value: the metric from the means of the columns, shape (…, columns); returns shape (…).
        proportion: whether each row contributes one 0 or 1 and the metric is their mean: exact tests are made of it.
        bounded: whether it lies between 0 and 1.
        probabilities: whether it asks for probabilities in place of predicted values.
        lists: whether it asks for a list a row.
        relative: whether what a row contributes depends on the other rows, so that each slice has contributions of its
            own.
    """

    name: str
    greater_is_better: bool
    contributions: Callable[[Array, Array], Array]
    value: Callable[[Array], Array]
    proportion: bool = False
    bounded: bool = False
    probabilities: bool = False
    relative: bool = False
    lists: bool = False

    @property
    def sign(self) -> int:
        """1 where greater is better, else -1: the metric times it is better when it is greater."""
        return 1 if self.greater_is_better else -1


def of(name: str) -> Metric:
    """A metric by its name.

    Args:
        name: for instance ``accuracy_score``.

    Raises:
        GateError: no such metric is known.
    """
    if name not in METRICS:
        raise GateError(f"metric {name!r} is not known: give one of {', '.join(sorted(METRICS))}, or a function")
    return METRICS[name]


def by_row(name: str, function: Callable[[Array, Array], Any], greater_is_better: bool, lists: bool = False) -> Metric:
    """A metric that is the mean of one number a row.

    Args:
        name: for reports.
        function: takes targets and predictions, returns one number a row, shape (rows,).
        greater_is_better: direction.
        lists: see ``Metric``.

    Returns:
        The metric; its contributions raise ``GateError`` where the function returns another number of rows.
    """

    def contributions(targets: Array, predictions: Array) -> Array:
        values = np.asarray(function(targets, predictions), dtype=float)
        if values.shape != (len(targets),):
            raise GateError(
                f"metric {name!r} returned shape {values.shape} for {len(targets)} rows: let it return one number a row"
            )
        return values[:, None]

    return Metric(name, greater_is_better, contributions, _mean, lists=lists)


def compute(metric: Metric, targets: Array, predictions: Array) -> float:
    """The metric on all rows.

    Args:
        targets: shape (rows,).
        predictions: shape (rows,), or (rows, classes).

    Returns:
        Its value.
    """
    return float(metric.value(metric.contributions(targets, predictions).mean(axis=0)))


def _mean(means: Array) -> Array:
    return np.asarray(means[..., 0])


def _right(targets: Array, predictions: Array) -> Array:
    return np.asarray(targets == predictions, dtype=float).reshape(-1, 1)


def _counts(targets: Array, predictions: Array) -> Array:
    """For each class: true positives, predicted, actual. Of two classes the larger counts alone, as in MLflow."""
    classes = np.unique(np.concatenate([targets, predictions]))
    if len(classes) <= 2:
        classes = classes[-1:]
    predicted, actual = predictions[:, None] == classes, targets[:, None] == classes
    return np.concatenate([predicted & actual, predicted, actual], axis=1).astype(float)


def _mean_over_classes(share: Callable[[Array, Array, Array], Array]) -> Callable[[Array], Array]:
    """The mean, over classes that are there, of a share of their counts, where 0 of 0 is 0, as in scikit-learn."""

    def value(means: Array) -> Array:
        hits, predicted, actual = np.split(means, 3, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.nan_to_num(share(hits, predicted, actual), nan=0.0)
        return np.asarray(shares.sum(axis=-1) / np.maximum((predicted + actual > 0).sum(axis=-1), 1))

    return value


def _f1(hits: Array, predicted: Array, actual: Array) -> Array:
    return np.asarray(2 * hits / (predicted + actual))


def _precision(hits: Array, predicted: Array, _: Array) -> Array:
    return hits / predicted


def _recall(hits: Array, _: Array, actual: Array) -> Array:
    return hits / actual


def _log_loss(targets: Array, probabilities: Array) -> Array:
    return np.asarray(-np.log(np.clip(_of_target(targets, probabilities), _LEAST_PROBABILITY, 1.0))).reshape(-1, 1)


def _brier(targets: Array, probabilities: Array) -> Array:
    two = _two_classes("brier_score_loss", targets, probabilities)
    return np.asarray((two - targets) ** 2).reshape(-1, 1)


def _of_target(targets: Array, probabilities: Array) -> Array:
    """The probability given to what was true; targets are numbers of classes, from 0 up."""
    if probabilities.ndim == 1:
        probabilities = np.stack([1 - probabilities, probabilities], axis=1)
    numbers = targets.astype(int)
    if (numbers != targets).any() or numbers.min() < 0 or numbers.max() >= probabilities.shape[1]:
        raise GateError(f"targets are no classes from 0 up, of which the model gives {probabilities.shape[1]}")
    return np.asarray(probabilities[np.arange(len(numbers)), numbers])


def _two_classes(name: str, targets: Array, probabilities: Array) -> Array:
    if probabilities.ndim == 2 and probabilities.shape[1] == 2:
        probabilities = probabilities[:, 1]
    if probabilities.ndim != 1 or not np.isin(targets, (0, 1)).all():
        raise GateError(f"metric {name!r} is of two classes, 0 and 1: leave it out, or give such data")
    return probabilities


def _auc(targets: Array, probabilities: Array) -> Array:
    """The area under the curve and each row's part in it (DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988).

    Their mean over all rows is the area; their variance is DeLong's.
    """
    scores = _two_classes("roc_auc", targets, probabilities)
    positive = targets == 1
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not ups or not downs:
        raise GateError("metric 'roc_auc' wants rows of both classes: all of these are of one")
    ranks, own = rankdata(scores), np.empty(len(scores))
    own[positive], own[~positive] = rankdata(scores[positive]), rankdata(scores[~positive])
    placed = np.where(positive, (ranks - own) / downs, 1 - (ranks - own) / ups)
    area = float(placed[positive].mean())
    share = np.where(positive, ups, downs) / len(scores)
    return np.asarray(area + (placed - area) / share).reshape(-1, 1)


def _absolute(targets: Array, predictions: Array) -> Array:
    return np.asarray(np.abs(predictions - targets)).reshape(-1, 1)


def _square(targets: Array, predictions: Array) -> Array:
    return np.asarray((predictions - targets) ** 2).reshape(-1, 1)


def _relative(targets: Array, predictions: Array) -> Array:
    relative = np.abs(predictions - targets) / np.maximum(np.abs(targets), np.finfo(float).eps)
    return np.asarray(relative).reshape(-1, 1)


def _exponential(means: Array) -> Array:
    return np.asarray(np.exp(means[..., 0]))


def _root(means: Array) -> Array:
    return np.asarray(np.sqrt(means[..., 0]))


def _explained(targets: Array, predictions: Array) -> Array:
    centred = targets - targets.mean()  # the same value, without the loss of precision of a large mean
    return np.stack([(predictions - targets) ** 2, centred, centred**2], axis=1)


def _r2(means: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - means[..., 0] / (means[..., 2] - means[..., 1] ** 2))


_ALL = (
    Metric("accuracy_score", True, _right, _mean, proportion=True, bounded=True),
    Metric("exact_match", True, _right, _mean, proportion=True, bounded=True),
    Metric("f1_score", True, _counts, _mean_over_classes(_f1), bounded=True),
    Metric("precision_score", True, _counts, _mean_over_classes(_precision), bounded=True),
    Metric("recall_score", True, _counts, _mean_over_classes(_recall), bounded=True),
    Metric("log_loss", False, _log_loss, _mean, probabilities=True),
    Metric("perplexity", False, _log_loss, _exponential, probabilities=True),
    Metric("brier_score_loss", False, _brier, _mean, bounded=True, probabilities=True),
    Metric("roc_auc", True, _auc, _mean, bounded=True, probabilities=True, relative=True),
    Metric("mean_absolute_error", False, _absolute, _mean),
    Metric("mean_squared_error", False, _square, _mean),
    Metric("root_mean_squared_error", False, _square, _root),
    Metric("mean_absolute_percentage_error", False, _relative, _mean),
    Metric("r2_score", True, _explained, _r2),
)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
