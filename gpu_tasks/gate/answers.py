"""What a model answers to the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bulkhead.gpu_tasks.errors import GateError
from bulkhead.gpu_tasks.gate.cost import Timing
from bulkhead.gpu_tasks.gate.resampling import Array

_ROUNDING = 1e-5
"""So much two answers to one row may differ: on a GPU sums are not always taken in one order."""


@dataclass(frozen=True)
class ModelAnswers:
    """What a model answers.

    Attributes:
        values: predicted class, number, text or list of each row, shape (rows,).
        probabilities: of the classes, shape (rows, classes), or of the second of two, shape (rows,); None where the
            model gives none.
    """

    values: Array
    probabilities: Array | None


@dataclass(frozen=True)
class GateAnswers:
    """What both models answered, and how long they took.

    Attributes:
        candidate: its answers.
        champion: likewise, to the same rows; None without a champion.
        timings: single requests of both; empty where no latency was asked for.
    """

    candidate: ModelAnswers
    champion: ModelAnswers | None
    timings: Sequence[Timing]


def ask(
    model: Any,
    features: pd.DataFrame,
    targets: Array,
    whose: str,
    probabilities: bool = False,
    lists: bool = False,
) -> ModelAnswers:
    """Ask a model for all rows, twice: what does not agree with itself cannot be judged.

    Args:
        model: loaded by ``mlflow.pyfunc``.
        features: a column each.
        targets: what is true, shape (rows,): numbers between 0 and 1 are probabilities where these are 0 and 1 alone.
        whose: ``candidate`` or ``champion version 3``, for errors.
        probabilities: whether to ask for them where ``predict`` does not tell them.
        lists: whether each row is answered by a list.

    Raises:
        GateError: the data do not meet the model's signature, it raised, it answers another number of rows, or it
            answers the same rows differently.
    """
    read = _lists if lists else _array
    try:
        first, again = (read(model.predict(features)) for _ in range(2))
    except Exception as wrong:  # whatever a user's model raises
        raise _cannot(whose, wrong) from wrong
    if len(first) != len(features):
        raise GateError(f"{whose} answered {len(first)} rows of {len(features)}: it has to answer each")
    if not _same(first, again):
        raise GateError(f"{whose} answers the same rows differently when asked again: it cannot be judged")
    if lists:
        return ModelAnswers(first, None)
    if first.ndim == 2:
        return ModelAnswers(first.argmax(axis=1), first)
    if _are_probabilities(first, targets):
        return ModelAnswers((first >= 0.5).astype(int), first)
    return ModelAnswers(first, _probabilities(model, features, whose) if probabilities else None)


def _cannot(whose: str, wrong: Exception) -> GateError:
    return GateError(f"{whose} does not answer these data: {type(wrong).__name__}: {wrong}")


def _array(answer: Any) -> Array:
    """ModelAnswers of all the shapes that pyfunc allows, one or two dimensions."""
    array = np.asarray(answer)
    return array.reshape(len(array)) if array.ndim == 2 and array.shape[1] == 1 else array


def _lists(answer: Any) -> Array:
    """Lists of all the shapes that pyfunc allows, one a row."""
    column = answer.iloc[:, 0] if isinstance(answer, pd.DataFrame) else answer
    rows = [cell.tolist() if hasattr(cell, "tolist") else cell for cell in column]
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def _same(first: Array, again: Array) -> bool:
    if first.shape != again.shape:
        return False
    if np.issubdtype(first.dtype, np.floating) and np.issubdtype(again.dtype, np.floating):
        return bool(np.allclose(first, again, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True))
    return bool(np.array_equal(first, again))


def _are_probabilities(values: Array, targets: Array) -> bool:
    if not np.issubdtype(values.dtype, np.floating) or not np.isin(targets, (0, 1)).all():
        return False
    return bool(((values >= 0) & (values <= 1)).all() and not np.isin(values, (0, 1)).all())


def _probabilities(model: Any, features: pd.DataFrame, whose: str) -> Array | None:
    """Of a model that has them beside what it predicts, as scikit-learn's do."""
    try:
        predict = getattr(model.get_raw_model(), "predict_proba", None)
    except NotImplementedError:  # so pyfunc says of flavors that have no such model
        return None
    try:
        return None if predict is None else np.asarray(predict(features))
    except Exception as wrong:  # whatever a user's model raises
        raise _cannot(whose, wrong) from wrong
