"""Rows that judge a model and that it was trained on: it may know them by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bulkhead.gpu_tasks.errors import ConfigError, GateError
from bulkhead.gpu_tasks.gate.data import Holdout, plain, rows
from bulkhead.gpu_tasks.gate.logged_data import LoggedData
from bulkhead.gpu_tasks.gate.request import GateRequest

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
        found = [Overlap(share, request.training_data)]
    else:
        found = [_of_logged(holdout, data) for data in trained_on if data.trained_on]
    known = [overlap for overlap in found if overlap.share is not None]
    if not known:
        return Overlap(None)
    worst = max(known, key=lambda one: one.share or 0.0)
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
    return float(np.isin(_digests(features[common]), _digests(trained_on[common])).mean())


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


def _digests(frame: pd.DataFrame) -> Any:
    """A number a row, the same for equal values of other types: 1, 1.0 and True; a category and its text."""
    kept = plain(frame)
    as_one = {
        name: pd.to_numeric(kept[name]).astype(float)
        if pd.api.types.is_numeric_dtype(kept[name]) or pd.api.types.is_bool_dtype(kept[name])
        else kept[name].astype(str)
        for name in kept.columns
    }
    return pd.util.hash_pandas_object(pd.DataFrame(as_one), index=False).to_numpy()


def _rounded_up(share: float) -> float:
    return float(np.ceil(share * 100) / 100)
