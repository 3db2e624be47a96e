"""The rows that candidate and champion are judged by."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bulkhead.arguments import is_function
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.functions import function
from bulkhead.gpu_tasks.gate.files import read
from bulkhead.gpu_tasks.gate.logged_data import source_of
from bulkhead.gpu_tasks.gate.request import LOGGED


@dataclass(frozen=True)
class Holdout:
    """Rows that were not trained on.

    Attributes:
        features: what the model is asked, a column each.
        targets: what is true, shape (rows,).
        frame: both.
        digest: SHA-256 of the file, or of the frame's columns and values.
    """

    features: pd.DataFrame
    targets: Any
    frame: pd.DataFrame
    digest: str


def load(source: str, target: str) -> Holdout:
    """Load the data.

    Args:
        source: see ``GateRequest.data``.
        target: column of what is true.

    Raises:
        ConfigError: it is not there, cannot be read, holds no row, lacks the target, or has rows without one.
    """
    frame, digest = rows("data", source)
    if target not in frame.columns:
        columns = ", ".join(map(str, frame.columns[:20]))
        raise ConfigError(f"target = {target!r}: the data have no such column; they have {columns}")
    if missing := int(frame[target].isna().sum()):
        raise ConfigError(f"target = {target!r}: {missing} of {len(frame)} rows have none; leave them out of the data")
    return Holdout(frame.drop(columns=[target]), frame[target].to_numpy(), frame, digest)


def rows(field: str, source: str) -> tuple[pd.DataFrame, str]:
    """Rows that a user names.

    Args:
        field: where its name stands, for errors.
        source: see ``GateRequest.data``.

    Returns:
        The rows, and the SHA-256 of the file, or of the frame's columns and values.

    Raises:
        ConfigError: it is not there, cannot be read, or holds no row.
    """
    if is_function(source):
        frame, digest = _from_function(field, source)
    else:
        frame, digest = _from_file(field, source_of(field, source) if LOGGED.fullmatch(source) else source)
    if not len(frame):
        raise ConfigError(f"{field} = {source!r}: it holds no row; give others")
    return frame, digest


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The same values, of which each can be hashed: lists and the like as JSON.

    Args:
        frame: any.
    """
    copied = frame.copy(deep=False)
    for place, kind in enumerate(frame.dtypes):
        column = frame.iloc[:, place]
        if (
            pd.api.types.is_object_dtype(kind)
            and column.map(lambda value: isinstance(value, list | dict | set | np.ndarray)).any()
        ):
            copied.isetitem(place, column.map(lambda value: json.dumps(value, default=_as_json)))
    return copied


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | dict | set | np.ndarray)


def _as_json(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _from_function(field: str, source: str) -> tuple[pd.DataFrame, str]:
    frame = function(field, source)()
    if not isinstance(frame, pd.DataFrame):
        raise ConfigError(f"{field} = {source!r}: it returned {type(frame).__name__}; let it return a pandas DataFrame")
    frame = frame.reset_index(drop=True)
    schema = json.dumps([[str(name), str(kind)] for name, kind in frame.dtypes.items()])
    hashes = pd.util.hash_pandas_object(plain(frame), index=False).to_numpy().tobytes()
    return frame, hashlib.sha256(schema.encode() + hashes).hexdigest()


def _from_file(field: str, source: str) -> tuple[pd.DataFrame, str]:
    content = read(field, source)
    parse = next(reader for ending, reader in _READERS.items() if source.endswith(ending))
    try:
        frame = parse(io.BytesIO(content))
    except (ValueError, KeyError, OSError) as wrong:  # what pandas, pyarrow and numpy raise of a broken file
        raise ConfigError(f"{field} = {source!r}: not readable: {type(wrong).__name__}: {wrong}") from wrong
    return frame, hashlib.sha256(content).hexdigest()


def _npz(file: io.BytesIO) -> pd.DataFrame:
    """Arrays by name; those of two dimensions a column each, ``name_0``, ``name_1`` and so on."""
    columns: dict[str, Any] = {}
    with np.load(file, allow_pickle=False) as arrays:
        for name in arrays.files:
            array = arrays[name]
            if array.ndim == 1:
                columns[name] = array
            else:
                flat = array.reshape(len(array), -1)
                columns |= {f"{name}_{index}": flat[:, index] for index in range(flat.shape[1])}
    return pd.DataFrame(columns)


_READERS: Mapping[str, Callable[[io.BytesIO], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
    ".jsonl": lambda file: pd.read_json(file, lines=True),
    ".npz": _npz,
}
