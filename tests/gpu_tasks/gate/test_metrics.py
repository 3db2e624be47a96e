"""Metrics, against scikit-learn's."""

from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn

from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.gate.metrics import METRICS, by_row, compute, of

RNG = np.random.default_rng(0)
TWO = RNG.integers(0, 2, 300)
THREE = RNG.integers(0, 3, 300)
NUMBERS = RNG.normal(1000, 3, 300)
SCORES = np.clip(0.3 * TWO + 0.7 * RNG.random(300), 0, 1).round(2)  # with ties
CLASSES = RNG.dirichlet([1, 1, 1], 300)


def _macro(function: Callable[..., float]) -> Callable[[Any, Any], float]:
    return lambda targets, predictions: function(targets, predictions, average="macro", zero_division=0)


@pytest.mark.parametrize(
    ("name", "targets", "predictions", "theirs"),
    [
        ("accuracy_score", THREE, RNG.permutation(THREE), sklearn.accuracy_score),
        ("f1_score", TWO, (SCORES > 0.5).astype(int), sklearn.f1_score),
        ("precision_score", TWO, (SCORES > 0.5).astype(int), sklearn.precision_score),
        ("recall_score", TWO, (SCORES > 0.5).astype(int), sklearn.recall_score),
        ("f1_score", THREE, RNG.permutation(THREE), _macro(sklearn.f1_score)),
        ("precision_score", THREE, np.minimum(THREE, 1), _macro(sklearn.precision_score)),
        ("recall_score", THREE, RNG.permutation(THREE), _macro(sklearn.recall_score)),
        ("log_loss", TWO, SCORES.clip(0.01, 0.99), sklearn.log_loss),
        ("log_loss", THREE, CLASSES, sklearn.log_loss),
        ("brier_score_loss", TWO, SCORES, sklearn.brier_score_loss),
        ("brier_score_loss", TWO, np.stack([1 - SCORES, SCORES], 1), lambda *_: sklearn.brier_score_loss(TWO, SCORES)),
        ("roc_auc", TWO, SCORES, sklearn.roc_auc_score),
        ("mean_absolute_error", NUMBERS, RNG.permutation(NUMBERS), sklearn.mean_absolute_error),
        ("mean_squared_error", NUMBERS, RNG.permutation(NUMBERS), sklearn.mean_squared_error),
        ("root_mean_squared_error", NUMBERS, RNG.permutation(NUMBERS), sklearn.root_mean_squared_error),
        ("mean_absolute_percentage_error", NUMBERS, NUMBERS + 7, sklearn.mean_absolute_percentage_error),
        ("r2_score", NUMBERS, NUMBERS + RNG.normal(0, 1, 300), sklearn.r2_score),
    ],
)
def test_it_is_what_scikit_learn_says(
    name: str, targets: Any, predictions: Any, theirs: Callable[[Any, Any], float]
) -> None:
    assert compute(of(name), targets, predictions) == pytest.approx(theirs(targets, predictions))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_its_direction_is_told_by_a_perfect_model(name: str) -> None:
    metric = of(name)
    targets = TWO if metric.bounded or metric.probabilities else NUMBERS
    perfect = compute(metric, targets, targets.astype(float) if metric.probabilities else targets)
    poor = compute(metric, targets, SCORES if metric.probabilities else RNG.permutation(targets))
    assert perfect > poor if metric.greater_is_better else perfect < poor
    if metric.bounded:
        assert 0 <= poor <= 1 and 0 <= perfect <= 1


def test_the_area_under_the_curve_varies_as_delong_says() -> None:
    contributions = of("roc_auc").contributions(TWO, SCORES)[:, 0]
    positive, negative = SCORES[TWO == 1], SCORES[TWO == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    delong = wins.mean(axis=1).var() / len(positive) + wins.mean(axis=0).var() / len(negative)
    assert contributions.var() / len(TWO) == pytest.approx(delong)


def test_a_metric_of_ones_own_is_the_mean_of_its_rows() -> None:
    metric = by_row("cost", lambda targets, predictions: np.where(targets > predictions, 5.0, 1.0), False)
    assert compute(metric, np.array([1, 2]), np.array([2, 1])) == 3
    assert not metric.greater_is_better and not metric.bounded


@pytest.mark.parametrize("returned", [1.5, np.ones(3), np.ones((2, 2))])
def test_one_that_returns_another_shape_is_refused(returned: Any) -> None:
    metric = by_row("cost", lambda *_: returned, False)
    with pytest.raises(GateError, match=r"metric 'cost' returned shape \(.*\) for 2 rows: let it return one number"):
        metric.contributions(np.zeros(2), np.zeros(2))


def test_a_metric_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(GateError, match=r"metric 'accuracy' is not known: give one of accuracy_score, .*, or a func"):
        of("accuracy")


@pytest.mark.parametrize(
    ("name", "targets", "predictions", "message"),
    [
        ("roc_auc", [1, 1], [0.1, 0.2], "'roc_auc' wants rows of both classes"),
        ("roc_auc", [1, 2], [0.1, 0.2], "'roc_auc' is of two classes"),
        ("brier_score_loss", [0, 1], [[0.1, 0.2, 0.7]] * 2, "'brier_score_loss' is of two classes"),
        ("log_loss", [0, 3], [[0.1, 0.2, 0.7]] * 2, "targets are no classes from 0 up, of which the model gives 3"),
        ("log_loss", [0, 0.5], [0.1, 0.7], "targets are no classes from 0 up, of which the model gives 2"),
    ],
)
def test_data_that_a_metric_is_not_of_is_refused(name: str, targets: Any, predictions: Any, message: str) -> None:
    with pytest.raises(GateError, match=message):
        compute(of(name), np.asarray(targets), np.asarray(predictions))


@pytest.mark.parametrize(
    ("model_type", "targets", "predictions"),
    [("classifier", TWO, (SCORES > 0.5).astype(int)), ("regressor", NUMBERS, NUMBERS + RNG.normal(0, 1, 300))],
)
def test_a_name_that_mlflow_knows_means_what_mlflow_means(
    model_type: str, targets: Any, predictions: Any, mlflow_uri: str
) -> None:
    mlflow.set_tracking_uri(mlflow_uri)
    frame = pd.DataFrame({"y": targets, "said": predictions})
    with mlflow.start_run():
        found = mlflow.models.evaluate(data=frame, predictions="said", targets="y", model_type=model_type)
    known = {name: value for name, value in found.metrics.items() if name in METRICS}
    assert len(known) >= 4
    assert {name: compute(of(name), targets, predictions) for name in known} == pytest.approx(known)
