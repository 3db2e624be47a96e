"""The door for text from outside."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.text import MAX_TEXT, bounded, document, identifier, storable, unkept
from tests.hostile import TEXT

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(TEXT)
def test_what_is_storable_stays_so_and_can_be_encoded(text: str) -> None:
    clean = storable(text)
    assert storable(clean) == clean
    assert "\x00" not in clean.encode().decode()


def test_colours_go_and_tabs_and_lines_stay() -> None:
    assert storable("\x1b[31mred\x1b[0m\tand\nblack\x07") == "red\tand\nblack\ufffd"


@given(TEXT, st.integers(1, 400))
def test_what_is_bounded_is_its_beginning(text: str, most: int) -> None:
    short = bounded(text, most)
    assert len(short) <= most
    assert storable(text).startswith(short) or short.endswith("…")


def test_a_text_that_fits_is_whole() -> None:
    assert bounded("x" * MAX_TEXT) == "x" * MAX_TEXT
    assert bounded("x" * MAX_TEXT + "y") == "x" * (MAX_TEXT - 1) + "…"
    assert bounded("\x1b[31m" * MAX_TEXT, 10).endswith("…")


@given(TEXT, TEXT, st.integers(32, 300))
def test_identifiers_fit_and_are_equal_for_equal_texts_alone(one: str, other: str, most: int) -> None:
    shortened = identifier(one, most)
    assert len(shortened.encode()) <= most
    assert identifier(shortened, most) == shortened
    assert (identifier(other, most) == shortened) == (other == one)


@given(DOCUMENTS)
def test_any_document_becomes_json_that_every_database_takes(value: object) -> None:
    kept = document(value)
    text = json.dumps(kept, allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text
    text.encode()
    assert document(kept) == kept
    assert unkept("it", kept) is None


def test_what_is_nested_without_end_is_cut() -> None:
    deep: object = "end"
    for _ in range(5000):
        deep = [deep]
    assert "…" in json.dumps(document(deep), ensure_ascii=False)


@pytest.mark.parametrize(
    ("value", "name", "bad"),
    [
        ({"env": {"A": "a\x00b"}}, "serve.env.A", "a\x00b"),
        ({"env": {"A\ud800": "a"}}, "serve.env", "A\ud800"),
        ({"command": ["a", "caf\udce9"]}, "serve.command.1", "caf\udce9"),
        ({"pod": [{"share": float("inf")}]}, "serve.pod.0.share", float("inf")),
    ],
)
def test_what_an_author_wrote_and_cannot_be_kept_is_named(value: object, name: str, bad: object) -> None:
    found = unkept("serve", value)
    assert found is not None and found[:2] == (name, bad)


def test_what_an_author_may_write_is_kept() -> None:
    assert unkept("serve", {"command": ["printf", "\x1b[31m\n"], "n": 1, "f": 0.5, "none": None}) is None
