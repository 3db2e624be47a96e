"""Mirrored requests, answered twice and compared."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bulkhead.gpu_tasks.compare import ClientRequest, Comparer, application, serve
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.metrics.counters import Counters, load
from tests.ports import free_port
from tests.servers import Backend

ASK = ClientRequest("POST", "/invocations", {"content-type": "application/json"}, b'{"inputs": [[0]]}')


@pytest.fixture
def backend() -> Iterator[Any]:
    made: list[Backend] = []

    def make(body: str, status: int = 200) -> Backend:
        made.append(Backend(body, status))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def _compare(candidate: int, stable: int, requests: int = 10) -> tuple[Counters, Counters]:
    comparer = Comparer(("127.0.0.1", candidate), ("127.0.0.1", stable), workers=1)
    for _ in range(requests):
        comparer.compare(ASK)
    document = comparer.document()
    return load(document["candidate"]), load(document["stable"])


def test_both_get_the_same_request_and_their_answers_are_compared(backend: Any) -> None:
    candidate, stable = backend('{"predictions": [7]}'), backend('{"predictions": [1]}')
    ours, theirs = _compare(candidate.port, stable.port)
    assert candidate.asked == stable.asked == [("POST", "/invocations", ASK.body)] * 10
    assert ours.answers is not None and theirs.answers is not None
    assert (ours.answers.compared, ours.answers.agreed) == (10, 0)
    assert (ours.answers.categories, theirs.answers.categories) == ({"7": 10}, {"1": 10})
    assert ours.requests == theirs.requests == ours.slow[float("inf")] == 10


def test_equal_answers_agree(backend: Any) -> None:
    ours, _ = _compare(backend('{"predictions": [7]}').port, backend('{"predictions": [7]}').port)
    assert ours.answers is not None and (ours.answers.compared, ours.answers.agreed) == (10, 10)


def test_a_failure_is_counted_and_not_compared(backend: Any) -> None:
    ours, theirs = _compare(backend("oops", 500).port, backend('{"predictions": [7]}').port)
    assert ours.answers is not None
    assert (ours.requests, ours.failures, ours.answers.compared, ours.answers.invalid) == (10, 10, 0, 0)
    assert theirs.failures == 0


def test_nobody_there_is_a_failure(backend: Any) -> None:
    ours, _ = _compare(free_port(), backend('{"predictions": [7]}').port, requests=2)
    assert (ours.requests, ours.failures) == (2, 2)


def test_an_answer_that_is_not_usable_is_counted_as_such(backend: Any) -> None:
    ours, _ = _compare(backend('{"predictions": [NaN]}').port, backend('{"predictions": [7]}').port)
    assert ours.answers is not None and (ours.answers.invalid, ours.answers.compared, ours.failures) == (10, 0, 0)


def test_what_cannot_be_answered_in_time_is_dropped_and_counted() -> None:
    comparer = Comparer(("127.0.0.1", free_port()), ("127.0.0.1", free_port()), workers=0)
    for _ in range(300):
        comparer.take(ASK)
    assert comparer.document()["dropped"] == 300 - 256


def test_a_request_is_taken_whole_with_its_query_and_its_own_headers() -> None:
    comparer = Comparer(("127.0.0.1", free_port()), ("127.0.0.1", free_port()), workers=0)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/a b",
        "raw_path": b"/v1/a%20b",
        "query_string": b"n=1",
        "headers": [(b"host", b"digits-shadow"), (b"x-tenant", b"acme"), (b"content-length", b"4")],
    }
    parts = iter([{"body": b"ab", "more_body": True}, {"body": b"cd"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(parts)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(comparer)(scope, receive, send))
    assert sent[0]["status"] == 202
    assert comparer._waiting.get_nowait() == ClientRequest("POST", "/v1/a%20b?n=1", {"x-tenant": "acme"}, b"abcd")


def test_without_a_worker_it_does_not_start() -> None:
    with pytest.raises(ConfigError, match="workers = 0: give at least 1"):
        serve(("127.0.0.1", free_port()), ("127.0.0.1", 1), ("127.0.0.1", 2), 0)
