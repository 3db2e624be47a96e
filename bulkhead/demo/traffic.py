"""The demo's clients: real digits at a steady rate, every answer checked and kept."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bulkhead.routers.envoy.config import REVISION_HEADER

_TIMEOUT_S = 30


@dataclass(frozen=True)
class Answer:
    """What became of one request.

    Attributes:
        at: when it was sent, seconds since the epoch.
        revision: that answered, from the router's response header; None where there was no answer.
        ok: status 200 and a digit in the body.
        right: whether the digit is the true one.
        latency_s: until the answer was complete.
        status: of HTTP; None where there was no answer.
        error: kind of the connection error, where there was one.
    """

    at: float
    revision: str | None
    ok: bool
    right: bool
    latency_s: float
    error: str | None = None
    status: int | None = None


class Clients(ABC):
    """Clients that ask until they are told to stop. Attributes: answers: so far, in no order."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    @abstractmethod
    def start(self) -> None:
        """Begin."""

    @abstractmethod
    def check(self) -> None:
        """Raise what ended it, if anything did."""

    @abstractmethod
    def stop(self) -> None:
        """Send nothing more, and wait for the answers that are still out."""

    def between(self, begin: float, end: float) -> Sequence[Answer]:
        """Answers to requests sent in a time.

        Args:
            begin: seconds since the epoch.
        """
        return [answer for answer in list(self.answers) if begin <= answer.at < end]


class DemoTraffic(Clients):
    """Sends requests from a thread of its own until told to stop.

    The loop is open: requests are sent on time, whether or not earlier ones are answered, as independent
    clients would.

    Args:
        url: of the model endpoint.
        rate: requests a second.
    """

    def __init__(self, url: str, rate: float) -> None:
        super().__init__()
        self._url, self._rate = url, rate
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """See ``Clients``."""
        self._thread.start()

    def check(self) -> None:
        """See ``Clients``."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """See ``Clients``."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT_S + 5)
        self.check()

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all(_images()))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asks with check()
            self._failure = error

    async def _send_all(self, images: Sequence[tuple[bytes, int]]) -> None:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            pending: set[asyncio.Task[None]] = set()
            began, sent = time.monotonic(), 0
            while not self._stop.is_set():
                await asyncio.sleep(max(0.0, began + sent / self._rate - time.monotonic()))
                task = asyncio.create_task(self._send(session, *images[sent % len(images)]))
                pending.add(task)
                task.add_done_callback(pending.discard)
                sent += 1
            await asyncio.gather(*pending)

    async def _send(self, session: Any, body: bytes, digit: int) -> None:
        import aiohttp

        at, began = time.time(), time.monotonic()
        try:
            async with session.post(self._url, data=body, headers={"Content-Type": "application/json"}) as answer:
                text, revision = await answer.read(), answer.headers.get(REVISION_HEADER)
                predicted = _digit(text) if answer.status == 200 else None
                took = time.monotonic() - began
                self.answers.append(
                    Answer(at, revision, predicted is not None, predicted == digit, took, status=answer.status)
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            kind = type(error).__name__
            self.answers.append(Answer(at, None, False, False, time.monotonic() - began, kind))


def _images() -> Sequence[tuple[bytes, int]]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    bodies = [json.dumps({"inputs": [image]}).encode() for image in images.tolist()]
    return list(zip(bodies, [int(label) for label in labels], strict=True))


def _digit(body: bytes) -> int | None:
    try:
        digit = json.loads(body)["predictions"][0]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return digit if isinstance(digit, int) and 0 <= digit <= 9 else None
