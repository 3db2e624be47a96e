"""Slices by columns and by a function."""

from typing import Any

import pandas as pd
import pytest

from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.gpu_tasks.gate.slices import cut
from tests import team

FRAME = team.holdout()


def _sizes(*slices: str, frame: pd.DataFrame = FRAME) -> dict[str, int]:
    return {one.name: one.rows for one in cut(frame, slices)}


def test_a_column_of_few_values_has_a_slice_each() -> None:
    assert _sizes("region") == {"region = north": 200, "region = south": 200}
    assert _sizes("left") == {"left = False": 300, "left = True": 100}


def test_a_column_of_numbers_is_cut_at_its_quartiles() -> None:
    found = _sizes("spend")
    assert set(found.values()) == {100} and len(found) == 4
    assert next(iter(found)).startswith("spend from 5.63") and all(" to " in name for name in found)


def test_rows_without_a_value_are_a_slice() -> None:
    frame = FRAME.assign(region=FRAME["region"].where(FRAME["age"] > 20))
    found = _sizes("region", frame=frame)
    assert found["region missing"] == int((FRAME["age"] <= 20).sum()) and sum(found.values()) == 400


def test_a_function_returns_masks_by_name() -> None:
    found = _sizes("tests.team:by_age")
    assert found == {"young": int((FRAME["age"] < 30).sum()), "old": int((FRAME["age"] >= 60).sum())}


def test_of_none_there_are_none() -> None:
    assert cut(FRAME, ()) == []


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        ("tenure", FRAME, r"slices: the data have no column 'tenure'; they have age, spend, region, left"),
        (
            "region",
            FRAME.assign(region=[f"r{n}" for n in range(400)]),
            r"'region' has 400 values, and at most 20 are judged",
        ),
        ("tests.team:no_masks", FRAME, r"gave 'young' no mask: let it be True or False for 400 rows"),
        ("tests.team:empty_mask", FRAME, r"slices: no row is in 'of no age'"),
        ("tests.team:suite", FRAME.head(0), r"takes 0 positional arguments"),
    ],
)
def test_what_is_no_slice_is_refused(name: str, frame: Any, message: str) -> None:
    with pytest.raises((ConfigError, TypeError), match=message):
        cut(frame, [name])
