"""Parts of the data that are judged each for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bulkhead.arguments import is_function
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.functions import function
from bulkhead.gpu_tasks.gate.resampling import Array

_MOST_VALUES = 20
"""A column of numbers with more is cut at its quartiles; one of anything else is refused."""


@dataclass(frozen=True)
class Slice:
    """A part of the rows.

    Attributes:
        name: for people, for instance ``region = north``.
        within: whether each row is of it, shape (rows,), bool.
    """

    name: str
    within: Array

    @property
    def rows(self) -> int:
        """How many are of it."""
        return int(self.within.sum())


def cut(frame: pd.DataFrame, slices: Sequence[str]) -> list[Slice]:
    """The slices of the data.

    Args:
        frame: the data.
        slices: see ``GateRequest.slices``.

    Returns:
        All of them, whatever their size.

    Raises:
        ConfigError: there is no such column, it has too many values, or a function returned something else than masks;
            or a slice is empty.
    """
    parts = [part for name in slices for part in (_by_function(frame, name) if is_function(name) else _by(frame, name))]
    for part in parts:
        if not part.rows:
            raise ConfigError(f"slices: no row is in {part.name!r}; leave it out, or give other data")
    return parts


def _by(frame: pd.DataFrame, name: str) -> list[Slice]:
    if name not in frame.columns:
        columns = ", ".join(map(str, frame.columns[:20]))
        raise ConfigError(f"slices: the data have no column {name!r}; they have {columns}")
    column = frame[name]
    values = column.dropna().unique()
    if len(values) <= _MOST_VALUES:
        named = [Slice(f"{name} = {value}", (column == value).to_numpy()) for value in sorted(values, key=str)]
    elif pd.api.types.is_numeric_dtype(column):
        quartiles = pd.qcut(column, 4, duplicates="drop")
        named = [_quartile(name, quartiles, part) for part in quartiles.cat.categories]
    else:
        raise ConfigError(
            f"slices: column {name!r} has {len(values)} values, and at most {_MOST_VALUES} are judged; "
            "group them by a function"
        )
    missing = column.isna().to_numpy()
    return [*named, Slice(f"{name} missing", missing)] if missing.any() else named


def _quartile(name: str, quartiles: pd.Series, part: pd.Interval) -> Slice:
    return Slice(f"{name} from {part.left:.4g} to {part.right:.4g}", (quartiles == part).to_numpy())


def _by_function(frame: pd.DataFrame, name: str) -> list[Slice]:
    masks = function("slices", name)(frame)
    if not isinstance(masks, Mapping):
        raise ConfigError(f"slices: {name!r} returned {type(masks).__name__}; let it return masks by name")
    parts = []
    for label, mask in masks.items():
        within = np.asarray(mask)
        if within.shape != (len(frame),) or within.dtype != bool:
            raise ConfigError(f"slices: {name!r} gave {label!r} no mask: let it be True or False for {len(frame)} rows")
        parts.append(Slice(str(label), within))
    return parts
