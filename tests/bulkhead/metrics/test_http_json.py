from collections.abc import Iterator

import pytest

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.metrics.counters import Answers
from bulkhead.metrics.http_json import HttpMetrics, get_json, read_counters
from bulkhead.settings import HttpSource
from tests.ports import free_port
from tests.servers import Backend, serving


@pytest.fixture
def backend() -> Iterator[list[Backend]]:
    made: list[Backend] = []
    yield made
    for one in made:
        one.stop()


def _url(backend: list[Backend], body: str, status: int = 200) -> str:
    backend.append(Backend(body, status))
    return f"http://127.0.0.1:{backend[-1].port}/statistics?key=secret"


def test_counters_are_read_by_name(backend: list[Backend]) -> None:
    url = _url(backend, '{"model": {"requests": 3, "answers": {"seen": 3, "categories": {"7": 3}}}, "more": 1}')
    assert read_counters(url, "model")["model"].answers == Answers(3, categories={"7": 3})


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{}", 200, "answers in another form than counters: 'model'"),
        ('{"model": {"requests": -3}}', 200, "answers in another form than counters"),
        ("[]", 200, "answers in another form"),
        ("<html>", 200, "something else than JSON"),
        ("oops", 500, "answered 500: oops"),
    ],
)
def test_anything_else_is_said_without_the_query(backend: list[Backend], body: str, status: int, message: str) -> None:
    with pytest.raises(UnavailableError, match=message) as caught:
        read_counters(_url(backend, body, status), "model")
    assert "secret" not in str(caught.value)


def test_nobody_there() -> None:
    with pytest.raises(UnavailableError, match="does not answer: ConnectionRefusedError"):
        get_json(f"http://127.0.0.1:{free_port()}/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:80", ""])
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(InvalidInputError, match="give http://"):
        get_json(url)


def test_each_revision_says_what_it_counted(backend: list[Backend], monkeypatch: pytest.MonkeyPatch) -> None:
    url = _url(backend, '{"model": {"requests": 9, "failures": 2}}')
    source = HttpSource(url=url.replace("/statistics", "/{namespace}/{backend}/{revision}"), token_variable="COUNTS")
    metrics = HttpMetrics(source, serving)
    with pytest.raises(InvalidInputError, match="token_variable = 'COUNTS'"):
        metrics.counters("digits", ["digits-1"])
    monkeypatch.setenv("COUNTS", "hunter2")
    seen = metrics.counters("digits", ["digits-1"])["digits-1"]
    assert (seen.requests, seen.failures) == (9, 2)
    [(_, path, _)] = backend[0].asked
    assert path.startswith("/serving/serve-digits-1/digits-1")
