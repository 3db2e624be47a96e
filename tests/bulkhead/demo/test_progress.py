import io
import threading

import pytest
from rich.console import Console

from bulkhead.demo import progress as module
from bulkhead.demo.progress import Progress
from bulkhead.errors import UnavailableError
from tests.waiting import until


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setattr(module, "_BEAT_S", 0.05)
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    monkeypatch.setattr(module, "_LATE_S", 0.01)
    return io.StringIO()


def _progress(said: io.StringIO) -> Progress:
    return Progress(Console(file=said, width=120), lambda: None)


def test_it_says_what_it_waits_for_again_and_again(said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LATE_S", 600)  # only who waits speaks, however slow the machine is

    def poll() -> str | None:
        lines = [line for line in said.getvalue().splitlines() if "… the server" in line]
        assert all("s so far (halfway)" in line for line in lines)
        return "found" if len(lines) >= 2 else None

    assert _progress(said).wait("the server", poll, lambda: "(halfway)") == "found"


def test_it_is_heard_while_a_look_takes_long(said: io.StringIO) -> None:
    def poll() -> bool:
        until(lambda: "… the server" in said.getvalue(), "a word")
        return True

    assert _progress(said).wait("the server", poll)


def test_it_is_heard_between_two_waits_and_tells_the_innermost(said: io.StringIO) -> None:
    def poll() -> bool:
        until(lambda: "… the server" in said.getvalue(), "a word about what is waited for")
        return True

    progress = _progress(said)
    with progress.heard("the demo"):
        until(lambda: "… the demo" in said.getvalue(), "a word before there is anything to wait for")
        progress.wait("the server", poll)
        before = said.getvalue().count("… the demo")
        until(lambda: said.getvalue().count("… the demo") > before, "a word after it")
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_what_does_not_come_is_an_error(said: io.StringIO) -> None:
    with pytest.raises(UnavailableError, match=r"the server: not there after 0\.1 s"):
        _progress(said).wait("the server", lambda: None, limit_s=0.1)


def test_what_must_run_is_checked_meanwhile(said: io.StringIO) -> None:
    def check() -> None:
        raise UnavailableError("Envoy has ended")

    with pytest.raises(UnavailableError, match="Envoy has ended"):
        Progress(Console(file=said), check).wait("the server", lambda: None)
