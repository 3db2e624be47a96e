"""Samples of a metrics endpoint: Prometheus' text format and OpenMetrics, of any exporter.

Made for one thing: thousands of devices with the same few labels on each of their series. So a block of labels is
read once and remembered by its text, and a line costs two searches and a conversion. ``prometheus_client`` has the
reference parser; `benchmarks/fleet.py` checks the values against it, and times both.

Sources: Prometheus, "Exposition formats"; OpenMetrics 1.0, section "Text Format".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

LONGEST_LINE = 65_536
"""Characters; a longer line is no sample."""

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_METRIC = re.compile(_NAME)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\.)*)"\s*(?:,|$)')
_NUMBER = r"[^\s#{}]+"
_SAMPLE = re.compile(
    rf'\s*({_NAME})\s*(?:\{{((?:[^"}}]|"(?:[^"\\\n]|\\.)*")*)\}})?\s*({_NUMBER})(?:\s+({_NUMBER}))?\s*(?:#.*)?$'
)
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_ESCAPE = re.compile(r"\\[\\\"n]")

T = TypeVar("T")


class Malformed(NamedTuple):
    """A line that is no sample.

    Attributes:
        why: in a few words.
        line: its number, from 1.
    """

    why: str
    line: int


class Blocks(dict[str, T | None]):
    """What each block of labels means, found out once.

    Args:
        meaning: of labels by name; None where they are not wanted.
    """

    def __init__(self, meaning: Callable[[dict[str, str]], T | None]) -> None:
        super().__init__()
        self._meaning = meaning

    def __missing__(self, block: str) -> T | None:
        self[block] = meaning = self._meaning(labels(block))
        return meaning


def labels(block: str) -> dict[str, str]:
    """Labels by name.

    Args:
        block: what stands between the braces.

    Raises:
        ValueError: it is no block of labels, or names one twice.
    """
    read: dict[str, str] = {}
    at = 0
    while at < len(block):
        match = _LABEL.match(block, at)
        if match is None:
            if block[at:].strip():
                raise ValueError("labels")
            break
        name, value = match.groups()
        if name in read:
            raise ValueError("a label twice")
        read[name] = _ESCAPE.sub(lambda escape: _ESCAPES[escape[0]], value) if "\\" in value else value
        at = match.end()
    return read


def samples(
    text: str, blocks: Blocks[T], is_relevant: Callable[[str], bool]
) -> Iterator[tuple[str, T, float] | Malformed]:
    """The samples of a scrape.

    Args:
        blocks: what labels mean; shared between scrapes, it spares their reading.
        is_relevant: whether metrics of a name are of interest.

    Yields:
        Name, meaning of the labels, and value; or a line that is no sample. Timestamps and exemplars are left out.
    """
    previous, is_wanted = "", False
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line[0] == "#":
            continue
        name, brace, rest = line.partition("{")
        if name != previous:
            previous, is_wanted = name, is_relevant(name.strip())
            if not is_wanted and _METRIC.fullmatch(name.strip().split(" ")[0]) is None:
                yield Malformed("no metric's name", number)
        if not is_wanted:
            continue
        block, end, value = rest.rpartition("} ")
        try:
            meaning = blocks[block] if brace and end and len(line) <= LONGEST_LINE else None
            if meaning is not None:
                yield name.strip(), meaning, float(value)
                continue
        except ValueError:
            pass  # a timestamp, an exemplar, odd spaces, or nonsense: the slow way tells
        yield from _slowly(line, number, blocks)


def _slowly(line: str, number: int, blocks: Blocks[T]) -> Iterator[tuple[str, T, float] | Malformed]:
    if len(line) > LONGEST_LINE:
        yield Malformed("a line too long", number)
        return
    match = _SAMPLE.match(line.rstrip("\r"))
    if match is None:
        yield Malformed("no sample", number)
        return
    name, block, value, _ = match.groups()
    try:
        meaning, amount = blocks[block or ""], float(value)
    except ValueError as error:
        yield Malformed("labels" if "float" not in str(error) else "no number", number)
        return
    if meaning is not None:
        yield name, meaning, amount
