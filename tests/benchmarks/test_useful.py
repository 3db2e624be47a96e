"""Time in steps, each counted once, whatever was done twice."""

import pytest

from benchmarks.useful import Useful
from bulkhead.gpu_tasks.heartbeat import Beat


def seen(*polls: tuple[float, int, int, str]) -> float:
    useful = Useful()
    for now, pid, step, phase in polls:
        useful.poll(now, Beat(0, pid, step, phase, 0.0))
    return useful.seconds


def test_what_comes_before_the_first_step_and_after_the_last_is_of_no_use() -> None:
    polls = (1, 7, 0, "start"), (10, 7, 1, "data"), (11, 7, 1, "forward"), (12, 7, 2, "data"), (15, 7, 0, "end")
    assert seen(*polls, (20, 7, 0, "end")) == 5


def test_of_a_step_that_is_done_again_the_last_time_counts() -> None:
    first = (0, 7, 1, "data"), (2, 7, 2, "data"), (9, 7, 2, "backward")  # and is killed
    assert seen(*first, (20, 8, 0, "start"), (25, 8, 1, "data"), (28, 8, 2, "data"), (32, 8, 3, "data")) == 3 + 4


def test_a_step_that_ends_because_another_rank_is_lost_counts_when_it_is_done_again() -> None:
    lost = (0, 7, 4, "data"), (6, 7, 0, "end")
    assert seen(*lost, (20, 8, 4, "data"), (22, 8, 0, "end")) == 2


def test_who_looks_seldom_misses_no_step() -> None:
    assert seen((0, 7, 1, "data"), (6, 7, 4, "data"), (10, 8, 2, "data"), (13, 8, 0, "end")) == pytest.approx(2 + 3 + 2)


def test_a_rank_without_a_sign_is_of_no_use() -> None:
    useful = Useful()
    useful.poll(0, None)
    useful.poll(1, Beat(0, 7, 1, "data", 0.0))
    useful.poll(5, None)
    useful.poll(9, Beat(0, 7, 2, "data", 0.0))
    assert useful.seconds == 0
