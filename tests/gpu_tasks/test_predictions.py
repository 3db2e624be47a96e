import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.gpu_tasks.predictions import OTHER, PredictionTally, agree, category, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"predictions": [7, 1]}', [7, 1]),
        (b'{"predictions": [[0.1, 0.9]]}', [[0.1, 0.9]]),
        (b'{"outputs": [{"name": "y", "data": [1.5]}]}', [1.5]),
        (b'{"choices": [{"text": "yes"}]}', [{"choices": [{"text": "yes"}]}]),
        (b"[3]", [3]),
        (b'{"predictions": []}', None),
        (b'{"predictions": [NaN]}', None),
        (b'{"predictions": [Infinity, 1.0]}', None),
        (b'{"predictions": [null]}', None),
        (b'{"predictions": [[1.0, NaN]]}', None),
        (b'{"outputs": [1]}', None),
        (b"{}", None),
        (b"", None),
        (b"<html>", None),
        (b"\xff", None),
    ],
)
def test_what_is_usable(body: bytes, found: list[Any] | None) -> None:
    assert read(body) == found


@pytest.mark.parametrize(
    ("prediction", "name"),
    [(7, "7"), (True, "True"), ("cat", "cat"), ([0.1, 0.7, 0.2], "#1"), ([7], "7"), (0.0, "bin 0"), (-0.1, "bin -1")],
)
def test_categories(prediction: Any, name: str) -> None:
    assert category(prediction) == name


def test_numbers_that_are_close_agree_and_classes_must_be_the_same() -> None:
    assert agree([1.0, 2.0], [1.0005, 2.0])
    assert not agree([1.0], [1.01])
    assert not agree([1], [1, 2])
    assert agree([[0.2, 0.8]], [[0.4, 0.6]])
    assert not agree([[0.2, 0.8]], [[0.6, 0.4]])
    assert not agree(["cat"], ["dog"]) and not agree(["1"], [1])


def test_categories_are_bounded() -> None:
    tally = PredictionTally()
    tally.add([f"user-{number}" for number in range(1000)])
    counts = tally.document()["categories"]
    assert len(counts) == 64 and counts[OTHER] == 1000 - 63


@given(JSON)
def test_any_json_is_read_counted_and_agrees_with_itself(document: Any) -> None:
    found = read(json.dumps(document).encode())
    tally = PredictionTally()
    tally.add(found)
    if found is None:
        assert tally.document()["invalid"] == 1
        return
    assert agree(found, found)
    assert sum(tally.document()["categories"].values()) == len(found)
