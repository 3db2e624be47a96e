"""What a checkpoint says of itself is read with care: others may write to the store."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.gpu_tasks.stores.base import Manifest, StoreRefusedError, name_of, parse, step_of

GOOD = asdict(Manifest(3, {"model": "tiny"}, {"lr": 0.1}, {"shard.safetensors": "00"}))


def _parsed(**changes: Any) -> Manifest:
    return parse(json.dumps({**GOOD, **changes}).encode(), name_of(3))


def test_what_was_written_is_read() -> None:
    assert asdict(_parsed()) == GOOD


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"../other": "00"}}, "'../other' is no name"),
        ({"files": {"/etc/passwd": "00"}}, "'/etc/passwd' is no name"),
        ({"files": {"..": "00"}}, "'..' is no name"),
        ({"files": {"": "00"}}, "'' is no name"),
        ({"files": {"a\0b": "00"}}, "is no name"),
        ({"part": "../.."}, "'../..' is no name"),
        ({"files": ["shard"], "part": 7}, "not readable: TypeError"),
        ({"files": {"shard": 7}}, "not readable: TypeError"),
        ({"step": "3"}, "not readable: TypeError"),
        ({"identity": None}, "not readable: TypeError"),
        ({"format": 2}, "its format is 2, known is 1"),
        ({"step": 4}, "it is of step 4"),
        ({"more": 1}, "not readable: TypeError"),
    ],
)
def test_what_is_not_of_the_known_form_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreRefusedError) as refused:
        _parsed(**changes)
    assert message in str(refused.value)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)
)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_nothing_else_gets_through(text: bytes) -> None:
    with pytest.raises(StoreRefusedError):
        parse(text, name_of(3))


@given(st.integers(0, 10**10 - 1))
def test_a_name_tells_its_step(step: int) -> None:
    assert step_of(name_of(step)) == step


@pytest.mark.parametrize("name", ["step-1", "step-00000000001", ".saving-step-0000000001", "progress", ""])
def test_other_names_are_no_checkpoints(name: str) -> None:
    assert step_of(name) is None
