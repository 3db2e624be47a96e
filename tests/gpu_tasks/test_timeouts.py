"""What may not answer holds nobody up."""

import itertools
import threading

import pytest

from bulkhead.gpu_tasks.timeouts import settled, within


def test_an_answer_is_given() -> None:
    assert within(60, lambda: "here", "the place") == "here"


def test_no_answer_is_waited_for_only_so_long(caplog: pytest.LogCaptureFixture) -> None:
    answer = threading.Event()
    assert within(0.05, lambda: answer.wait() and "late", "the place") is None
    answer.set()
    assert "the place is not known within 0.05 s" in caplog.text


def test_an_error_is_no_answer_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def away() -> str:
        raise OSError("gone")

    assert within(60, away, "the place") is None
    assert "the place is not known: OSError: gone" in caplog.text


def test_what_others_write_is_waited_for_until_nothing_is_added() -> None:
    polls = iter([{}, {0: "a"}, {0: "ab", 1: "x"}, {0: "abc", 1: "x"}, {0: "abc", 1: "x"}, {0: "too late"}])
    assert settled(lambda: next(polls), 2, 60) == {0: "abc", 1: "x"}


@pytest.mark.parametrize("found", [{}, {0: "a"}])
def test_what_one_does_not_write_is_waited_for_only_so_long(found: dict[int, str]) -> None:
    assert settled(lambda: found, 2, 0.05) == found


def test_what_is_always_added_to_is_waited_for_only_so_long() -> None:
    sizes = itertools.count()
    assert settled(lambda: {0: next(sizes)}, 1, 0.25)[0] >= 1


def test_where_nobody_is_expected_to_write_what_is_there_will_do() -> None:
    assert settled(lambda: {1: "x"}, 0, 60) == {1: "x"}
