from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bulkhead.health.exposition import LONGEST_LINE, Blocks, Malformed, labels, samples


def everything(text: str) -> list[tuple[str, dict[str, str], float] | Malformed]:
    return list(samples(text, Blocks(lambda one: one), lambda name: True))


def test_reads_names_labels_and_values() -> None:
    assert everything('# HELP x y\nx{a="1",b="two"} 3.5\nx{a="2"} 4\n') == [
        ("x", {"a": "1", "b": "two"}, 3.5),
        ("x", {"a": "2"}, 4.0),
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('x{a="1"} 3 1700000000000', 3.0),
        ('x{a="1"} 3 1700000000.5 # {trace_id="ab} c"} 1.0', 3.0),
        ('x{a="1"} 3 # {trace_id="} "} 1.0 17.5', 3.0),
        ('x {a="1"}\t3', 3.0),
        ('x{a="1",} +Inf', math.inf),
        ('x{ a = "1" } 1e-3\r', 0.001),
    ],
)
def test_reads_what_both_formats_allow(line: str, value: float) -> None:
    assert everything(line) == [("x", {"a": "1"}, value)]


def test_escapes_and_braces_in_labels_are_read() -> None:
    assert everything('x{a="q\\"} 7\\\\ \\n{"} 3') == [("x", {"a": 'q"} 7\\ \n{'}, 3.0)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('x{a="1" 3', "no sample"),
        ('x{a="1"', "no sample"),
        ('x{a="1"} three', "no number"),
        ("x{a=1} 3", "labels"),
        ('x{a="1",a="2"} 3', "labels"),
        ("} 4 {", "no metric's name"),
        ('x{a="' + "y" * LONGEST_LINE + '"} 3', "a line too long"),
    ],
)
def test_says_what_is_no_sample(line: str, why: str) -> None:
    found = list(samples(f"\n{line}", Blocks(lambda one: one), lambda name: name.startswith("x")))
    assert found == [Malformed(why, 2)]


def test_ten_megabytes_in_one_line_are_one_bad_line() -> None:
    assert everything('x{a="' + "y" * 10_000_000 + '"} 3\nx{a="1"} 3') == [
        Malformed("a line too long", 1),
        ("x", {"a": "1"}, 3.0),
    ]


def test_a_block_of_labels_is_read_once() -> None:
    asked: list[dict[str, str]] = []
    blocks = Blocks(lambda one: asked.append(one) or one)
    list(samples('x{a="1"} 3\ny{a="1"} 4\n', blocks, lambda name: True))
    assert asked == [{"a": "1"}]


def test_what_nobody_wants_is_not_looked_at() -> None:
    assert list(samples('y{broken 3\nx{a="1"} 3', Blocks(lambda one: one), "x".__eq__)) == [("x", {"a": "1"}, 3.0)]


def test_labels_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="a label twice"):
        labels('a="1",a="2"')


NAME = st.from_regex(r"\A[a-z][a-z0-9_]{0,10}\Z")
VALUE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@given(NAME, st.dictionaries(NAME, VALUE, min_size=1, max_size=4), st.floats(allow_nan=False))
def test_agrees_with_prometheus_client(name: str, message: dict[str, str], value: float) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    block = ",".join(f'{key}="{escaped(one)}"' for key, one in message.items())
    line = f"{name}{{{block}}} {value!r}\n"
    families = text_string_to_metric_families(line)
    theirs = [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
    assert everything(line) == theirs == [(name, message, value)]


@settings(max_examples=300)
@given(st.text(max_size=300) | st.text(alphabet='x{}="\\, 19.#\n', max_size=120))
def test_never_raises_whatever_comes(text: str) -> None:
    for found in everything(text):
        assert isinstance(found, Malformed) or len(found) == 3
