"""Following a container's log: resumed after a break with neither gap nor double, in bounded memory.

Source: the Kubernetes API reference, "Pod log" (``follow``, ``sinceTime``, ``timestamps``). ``sinceTime`` is cut to
whole seconds on its way to the kubelet, so a resumed log begins with lines that were seen: these are skipped by count.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
from kubernetes import client as k8s

from bulkhead.runtimes.kubernetes.pods import refusal_named
from bulkhead.runtimes.kubernetes.watch import AnsweredError

log = logging.getLogger(__name__)

Open = Callable[[Mapping[str, str]], Awaitable[aiohttp.ClientResponse]]
"""Opens the log with these query parameters; raises ``AnsweredError`` where the API server refuses."""

MAX_LINE = 64 * 1024
"""Longest line in bytes; the rest of a longer one is left out, and this is said."""

_CUT = " …[line cut]"
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.2, 15.0
_SETTLE_S = 2.0


@dataclass
class Position:
    """How far a log was read.

    A runtime stamps what a container writes to its two streams side by side, so lines may be a little out of order.
    Hence a log is resumed a second early.

    Attributes:
        second: whole seconds since the epoch of the latest line, or None before the first.
        seen: how many lines of that second were read.
        before: how many lines of the second before that were read.
    """

    second: int | None = None
    seen: int = 0
    before: int = 0

    def query(self) -> dict[str, str]:
        """Query parameters to go on from here."""
        if self.second is None:
            return {"timestamps": "true"}
        since = datetime.fromtimestamp(self.second - 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"timestamps": "true", "sinceTime": since}

    def reader(self) -> Callable[[str], str | None]:
        """Takes the lines of one answer to ``query``, in their order: gives back the text of each that is new."""
        skip = self.seen + self.before

        def take(line: str) -> str | None:
            nonlocal skip
            stamp, _, text = line.partition(" ")
            second = _second(stamp)
            if second is None:
                return line  # the kubelet's own words, for instance that a log cannot be read
            if skip:
                skip -= 1
                return None
            self._count(second)
            return text

        return take

    def _count(self, second: int) -> None:
        if self.second is None or second > self.second:
            self.before = self.seen if second - 1 == self.second else 0
            self.second, self.seen = second, 1
        elif second == self.second:
            self.seen += 1
        elif second == self.second - 1:
            self.before += 1


class Follower:
    """Follows the log of one container until that has ended.

    Args:
        ended: whether the container has ended, or is gone, as far as is known.
        changed: gives a future for the next time that ``ended`` may have changed.

    Attributes:
        position: how far it has come.
        complete: whether everything was read.
    """

    def __init__(
        self,
        open_log: Open,
        write: Callable[[str], None],
        ended: Callable[[], bool],
        changed: Callable[[], asyncio.Event],
    ) -> None:
        self._open, self._write, self._ended, self._changed = open_log, write, ended, changed
        self.position, self.complete = Position(), False

    async def run(self) -> None:
        """Follow, through as many connections as it takes."""
        failures, tail = 0, None
        while True:
            ended = self._ended()  # before the read: then what is read after it is all there is
            begun = replace(self.position)
            try:
                tail = await self._follow()
            except AnsweredError as refused:
                if refused.status in (403, 404):
                    log.info("the log cannot be followed: %s", refused)
                    return
                failures += 1
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                log.debug("the log broke off: %s", broken)
                failures += 1
            else:
                if ended or await self._comes_to_its_end():
                    if tail is not None:
                        self._write(tail)
                    self.complete = True
                    return
                failures += 1
            if self.position != begun:
                failures = 1
            await asyncio.sleep(random.uniform(0, min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(failures, 10))))

    async def _follow(self) -> str | None:
        """Write what comes; what comes after the last line break is given back: it may be half a line."""
        take = self.position.reader()
        async with await self._open({"follow": "true", **self.position.query()}) as answer:
            async for line, whole in lines(answer.content):
                if not whole:
                    return line.partition(" ")[2]
                text = take(line)
                if text is not None:
                    self._write(text)
        return None

    async def _comes_to_its_end(self) -> bool:
        """A log ends a moment before its container is reported to have ended."""
        try:
            async with asyncio.timeout(_SETTLE_S):
                while not self._ended():
                    await self._changed().wait()
        except TimeoutError:
            return False
        return True


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, bool]]:
    """Lines of a stream.

    Yields:
        Each line without its break, cut to ``MAX_LINE``, and whether it had a break.
    """
    rest, cut = b"", False
    while chunk := await content.readany():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            text = line[:MAX_LINE].decode("utf-8", "replace")
            yield (text + _CUT if cut or len(line) > MAX_LINE else text), True
            cut = False
        if len(rest) > MAX_LINE:
            rest, cut = rest[:MAX_LINE], True
    if rest:
        yield rest.decode("utf-8", "replace") + (_CUT if cut else ""), False


def read_rest(api: k8s.ApiClient, name: str, namespace: str, container: str, position: Position, limit: int) -> str:
    """What comes after a position, of a container that has ended.

    Args:
        position: how far the log was read; it is moved on.
        limit: at most so many bytes.

    Raises:
        PodFailedError: the API server refuses, or does not answer.
    """
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
    query = {"container": container, "limitBytes": str(limit), **position.query()}
    with refusal_named(name, namespace):
        answer: Any = api.call_api(
            path,
            "GET",
            query_params=list(query.items()),
            auth_settings=["BearerToken"],
            _preload_content=False,  # else the client gives a log as the repr of its bytes
            _return_http_data_only=True,
        )
    take = position.reader()
    texts = [take(line) for line in answer.data.decode("utf-8", "replace").splitlines()]
    return "\n".join(text for text in texts if text is not None)


def _second(stamp: str) -> int | None:
    try:
        return int(datetime.fromisoformat(stamp).timestamp())
    except ValueError:
        return None
