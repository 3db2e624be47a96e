"""The rows of the gate, of every kind of file and of a function."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.data import load
from tests import team

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5], "y": [0, 1, 0]})


def _written(folder: Path, ending: str) -> Path:
    path = folder / f"rows{ending}"
    match ending:
        case ".parquet":
            FRAME.to_parquet(path)
        case ".csv":
            FRAME.to_csv(path, index=False)
        case ".jsonl":
            FRAME.to_json(path, orient="records", lines=True)
        case ".npz":
            np.savez(path, **{name: FRAME[name].to_numpy() for name in FRAME})
    return path


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".npz"])
def test_each_kind_of_file_holds_the_same_rows(ending: str, tmp_path: Path) -> None:
    path = _written(tmp_path, ending)
    for source in (str(path), f"file://{path}"):
        found = load(source, "y")
        assert list(found.features.columns) == ["a", "b"] and found.features["b"].tolist() == [0.5, 1.5, 2.5]
        assert found.targets.tolist() == [0, 1, 0] and list(found.frame.columns) == ["a", "b", "y"]
        assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_arrays_of_more_dimensions_are_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", x=np.arange(12.0).reshape(3, 2, 2), y=np.arange(3))
    found = load(str(tmp_path / "images.npz"), "y")
    assert list(found.features.columns) == ["x_0", "x_1", "x_2", "x_3"]
    assert found.features.iloc[2].tolist() == [8, 9, 10, 11]


def test_a_function_returns_a_frame_whose_digest_is_that_of_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load("tests.team:holdout", "left")
    assert len(found.features) == 400 and found.digest == load("tests.team:holdout", "left").digest
    other, renamed = team.holdout(), team.holdout().rename(columns={"spend": "spent"})
    other.loc[0, "age"] += 1
    for changed in (other, renamed):
        monkeypatch.setattr(team, "holdout", lambda changed=changed: changed)
        assert load("tests.team:holdout", "left").digest != found.digest


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("/nowhere/rows.csv", "y", r"data = '/nowhere/rows\.csv': cannot be read: FileNotFoundError"),
        ("nosuch://a/rows.csv", "y", r"cannot be read: ValueError: Protocol not known: nosuch"),
        ("tests.team:nothing", "left", r"it holds no row"),
        ("tests.team:a_list", "left", r"it returned list; let it return a pandas DataFrame"),
        (
            "tests.team:holdout",
            "churn",
            r"target = 'churn': the data have no such column; they have age, spend, region",
        ),
        (
            "tests.nowhere:holdout",
            "left",
            r"data = .*: cannot be imported in this pod \(No module named 'tests\.nowhere'\)",
        ),
        ("tests.team:somewhere", "left", r"module tests\.team has no function somewhere"),
        ("tests.team:np", "left", r"module tests\.team has no function np"),
    ],
)
def test_what_is_not_there_or_no_data_is_refused(source: str, target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(source, target)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".npz"])
def test_a_file_that_is_something_else_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_bytes(b'\x00\xff"\x80{not data')
    with pytest.raises(ConfigError, match=r"not readable|holds no row"):
        load(str(path), "y")


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", y=np.array([object()], dtype=object))
    with pytest.raises(ConfigError, match="allow_pickle"):
        load(str(tmp_path / "rows.npz"), "y")


def test_rows_without_a_target_are_counted(tmp_path: Path) -> None:
    FRAME.assign(y=[0, None, 1]).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(ConfigError, match=r"target = 'y': 1 of 3 rows have none; leave them out of the data"):
        load(str(tmp_path / "rows.csv"), "y")
