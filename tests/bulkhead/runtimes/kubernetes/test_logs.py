"""A log is resumed wherever it breaks off; ``tests/cluster`` follows real ones."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.runtimes.kubernetes import logs as module
from bulkhead.runtimes.kubernetes.logs import MAX_LINE, Follower, Position, lines
from bulkhead.runtimes.kubernetes.watch import AnsweredError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(module, "_SETTLE_S", 0.2)


def _stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")


class Answer:
    """An answer whose content comes in pieces, and then ends, or breaks."""

    def __init__(self, data: bytes, piece: int, broken: bool) -> None:
        self.content, self._data, self._piece, self._broken = self, data, piece, broken

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def readany(self) -> bytes:
        if not self._data:
            if self._broken:
                raise aiohttp.ClientPayloadError("broken off")
            return b""
        chunk, self._data = self._data[: self._piece], self._data[self._piece :]
        return chunk


class Kubelet:
    """Serves a log that is complete, as the kubelet would, and breaks the connections where it is told to.

    Args:
        written: lines with the second of each.
        breaks: after how many bytes each answer breaks off; the one after the last is whole.
    """

    def __init__(self, written: list[tuple[int, str]], breaks: list[int], last: bytes = b"") -> None:
        self.written, self.breaks, self.last, self.queries = written, list(breaks), last, []

    async def open(self, query: Mapping[str, str]) -> Any:
        self.queries.append(dict(query))
        since = query.get("sinceTime")
        begin = int(datetime.fromisoformat(since).timestamp()) if since else 0
        data = b"".join(f"{_stamp(at)} {text}\n".encode() for at, text in self.written if at >= begin) + self.last
        if self.breaks:
            return Answer(data[: self.breaks.pop(0)], 7, True)
        return Answer(data, 7, False)


def _follower(kubelet: Kubelet, ended: bool = True) -> tuple[Follower, list[str]]:
    written: list[str] = []
    event = asyncio.Event()
    return Follower(kubelet.open, written.append, lambda: ended, lambda: event), written


LINES = st.lists(st.tuples(st.integers(0, 4), st.text("ab é", max_size=12)), max_size=30)


@given(LINES.map(sorted), st.lists(st.integers(0, 600), max_size=6))
def test_neither_gap_nor_double_wherever_it_breaks(written: list[tuple[int, str]], breaks: list[int]) -> None:
    kubelet = Kubelet([(1_790_000_000 + at, text) for at, text in written], breaks)

    async def run() -> tuple[Follower, list[str]]:
        follower, got = _follower(kubelet)
        await follower.run()
        return follower, got

    follower, got = asyncio.run(run())
    assert got == [text for _, text in written]
    assert follower.complete
    assert len(kubelet.queries) == len(breaks) + 1


@given(LINES.map(sorted), st.lists(st.booleans(), min_size=30, max_size=30), st.lists(st.integers(0, 600), max_size=6))
def test_lines_of_two_streams_may_be_a_second_out_of_order(
    written: list[tuple[int, str]], early: list[bool], breaks: list[int]
) -> None:
    written = [(at - earlier, text) for (at, text), earlier in zip(written, early, strict=False)]
    kubelet = Kubelet([(1_790_000_000 + at, text) for at, text in written], breaks)

    async def run() -> list[str]:
        follower, got = _follower(kubelet)
        await follower.run()
        return got

    assert asyncio.run(run()) == [text for _, text in written]


async def test_a_last_line_without_a_break_counts_once_the_container_has_ended() -> None:
    kubelet = Kubelet([(1_790_000_000, "one")], [200], f"{_stamp(1_790_000_001)} two".encode())
    follower, got = _follower(kubelet)
    await follower.run()
    assert got == ["one", "two"]


async def test_a_log_that_ends_while_its_container_runs_is_opened_again() -> None:
    kubelet = Kubelet([(1_790_000_000, "one")], [])
    follower, got = _follower(kubelet, ended=False)
    running = asyncio.ensure_future(follower.run())
    while len(kubelet.queries) < 2:
        await asyncio.wait({running}, timeout=0.05)
    running.cancel()
    assert got == ["one"] and not follower.complete
    assert kubelet.queries[1]["sinceTime"] == "2026-09-21T14:13:19Z"


@pytest.mark.parametrize(("status", "calls"), [(404, 1), (403, 1)])
async def test_a_log_that_is_not_there_is_given_up(status: int, calls: int) -> None:
    opened = 0

    async def refuse(query: Mapping[str, str]) -> Any:
        nonlocal opened
        opened += 1
        raise AnsweredError(status, "no")

    follower = Follower(refuse, print, lambda: True, asyncio.Event)
    await follower.run()
    assert (opened, follower.complete) == (calls, False)


async def test_a_container_that_is_only_starting_is_asked_again() -> None:
    kubelet, refusals = Kubelet([(1_790_000_000, "one")], []), [AnsweredError(400, "is waiting to start")] * 3

    async def open_log(query: Mapping[str, str]) -> Any:
        if refusals:
            raise refusals.pop()
        return await kubelet.open(query)

    got: list[str] = []
    follower = Follower(open_log, got.append, lambda: True, asyncio.Event)
    await follower.run()
    assert got == ["one"] and follower.complete


async def _lines(data: bytes, piece: int) -> list[tuple[str, bool]]:
    content: Any = Answer(data, piece, False)
    found: AsyncIterator[tuple[str, bool]] = lines(content)
    return [one async for one in found]


@given(st.lists(st.text("abc é", max_size=9), max_size=9), st.integers(1, 40))
def test_lines_are_whole_however_they_come(texts: list[str], piece: int) -> None:
    data = "".join(f"{text}\n" for text in texts).encode()
    assert asyncio.run(_lines(data, piece)) == [(text, True) for text in texts]


async def test_a_very_long_line_is_cut_and_the_next_is_not() -> None:
    found = await _lines(b"x" * (3 * MAX_LINE) + b"\nnext\n", MAX_LINE // 2)
    assert [(len(text) < MAX_LINE + 20, whole) for text, whole in found] == [(True, True)] * 2
    assert found[0][0].endswith("…[line cut]") and found[1][0] == "next"


def test_what_the_kubelet_itself_says_is_passed_on() -> None:
    take = Position().reader()
    assert take("unable to retrieve container logs for containerd://1") == (
        "unable to retrieve container logs for containerd://1"
    )


def test_a_time_zone_is_taken_into_account() -> None:
    position = Position()
    position.reader()("2026-11-24T12:00:00.5+02:00 text")
    assert position.query()["sinceTime"] == "2026-11-24T09:59:59Z"
