"""Rows that judge a model and that it was trained on: it may know them by heart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.gpu_tasks.gate.data import Holdout, plain, rows
from bulkhead.gpu_tasks.gate.logged_data import LoggedData
from bulkhead.gpu_tasks.gate.request import GateRequest

_SINGLE = ("float32", "float16", "Float32")
"""Types in which a number is not what the same one is in double precision."""

_UNKNOWN = "not known: the training has logged no data that can be read; give training_data"


@dataclass(frozen=True)
class Overlap:
    """What is known of it.

    Attributes:
        share: of the rows that the model was trained on; None where nothing tells.
        against: data that were compared with, for people.
    """

    share: float | None
    against: str = ""

    def evidence(self) -> dict[str, Any]:
        """What goes with the revision."""
        return {"training_overlap": _UNKNOWN if self.share is None else round(self.share, 6)}


def refuse_overlap(request: GateRequest, holdout: Holdout, trained_on: Sequence[LoggedData]) -> Overlap:
    """Refuse data that the candidate was trained on.

    Rows are alike where all columns are that both data have, but for the target, whatever types these are kept as.
    What a training has logged is compared row by row where its file is known and can be read, else by MLflow's digest
    of the whole.

    Args:
        request: what is asked.
        holdout: the rows.
        trained_on: what the training has logged, unless the request names it.

    Returns:
        What is known.

    Raises:
        GateError: more rows are in the training data than the request allows.
        ConfigError: the training data that the request names cannot be read, or have no column in common with these.
    """
    if request.training_data is not None:
        frame, _ = rows("training_data", request.training_data)
        share = shared(holdout.features, frame)
        if share is None:
            columns = ", ".join(map(str, frame.columns[:20]))
            raise ConfigError(
                f"training_data = {request.training_data!r}: they have no column of the data's; they have {columns}"
            )
        overlaps = [Overlap(share, request.training_data)]
    else:
        overlaps = [_of_logged(holdout, data) for data in trained_on if data.trained_on]
    measured = [overlap for overlap in overlaps if overlap.share is not None]
    if not measured:
        return Overlap(None)
    worst = max(measured, key=lambda overlap: overlap.share or 0.0)
    assert worst.share is not None
    if worst.share > request.most_overlap:
        count = round(worst.share * len(holdout.features))
        raise GateError(
            f"{count} of {len(holdout.features)} rows of data = {request.data!r} are in what the candidate was trained "
            f"on ({worst.against}): it may know them by heart. Leave them out; where rows are alike by nature, say "
            f"most_overlap={_rounded_up(worst.share):g}"
        )
    return worst


def shared(features: pd.DataFrame, trained_on: pd.DataFrame) -> float | None:
    """The share of rows that are in the training data.

    Args:
        features: what a model is asked.
        trained_on: rows of the training, with further columns or without some.

    Returns:
        0 to 1; None where they have no column in common.
    """
    common = [name for name in features.columns if name in trained_on.columns]
    if not common:
        return None
    single = {name for name in common if any(frame[name].dtype in _SINGLE for frame in (features, trained_on))}
    ours, theirs = (_digests(frame[common], single) for frame in (features, trained_on))
    return float(np.isin(ours, theirs).mean())


def _of_logged(holdout: Holdout, data: LoggedData) -> Overlap:
    """Of data that a training has logged; a training's word on where they are from may be out of date."""
    from mlflow.data.digest_utils import compute_pandas_digest

    called = f"{data.name}@{data.digest}"
    if data.digest in (compute_pandas_digest(holdout.frame), compute_pandas_digest(holdout.features)):
        return Overlap(1.0, called)
    if not data.source:
        return Overlap(None)
    try:
        frame, _ = rows(f"source of {called}", data.source)
    except ConfigError as away:
        print(f"whether rows were trained on is not known: {away}", flush=True)
        return Overlap(None)
    return Overlap(shared(holdout.features, frame), called)


def _digests(frame: pd.DataFrame, single: Collection[Any]) -> Any:
    """A number a row, the same for equal values of other types: 1, 1.0 and True, a category and what it is of.

    Args:
        single: columns that count as of single precision, as one of two data has them.
    """
    kept = plain(frame)
    columns = {name: _of_one_type(kept[name], name in single) for name in kept.columns}
    return pd.util.hash_pandas_object(pd.DataFrame(columns), index=False).to_numpy()


def _of_one_type(column: pd.Series, single: bool) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    column = column.infer_objects()
    if pd.api.types.is_numeric_dtype(column):  # of which booleans are
        return column.astype(float).astype("float32" if single else "float64")
    return column.astype(str)


def _rounded_up(share: float) -> float:
    return float(np.ceil(share * 100) / 100)
