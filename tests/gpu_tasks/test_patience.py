"""What may not answer holds nobody up."""

import threading

import pytest

from gpu_tasks.patience import within


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
