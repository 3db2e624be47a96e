"""Signs of progress, and who holds up whom."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_tasks.heartbeat import PHASES, Beat, Heartbeat, behind, read, stale


def test_the_last_sign_of_each_rank_is_read(tmp_path: Path) -> None:
    one, other = (Heartbeat(tmp_path / "job", rank, clock=lambda: 1000.5) for rank in (0, 11))
    one.beat(12, "backward")
    other.beat(12345678, "forward")
    one.beat(13, "data")  # shorter than what it replaces
    own = os.getpid()
    assert read(tmp_path / "job") == {
        0: Beat(0, own, 13, "data", 1000.5),
        11: Beat(11, own, 12345678, "forward", 1000.5),
    }


def test_what_is_no_sign_is_none(tmp_path: Path) -> None:
    for name, text in {"rank-0": "", "rank-1": "1 2 elsewhere 3", "rank-x": "1 2 data 3", "stacks-0.txt": ""}.items():
        (tmp_path / name).write_text(text)
    assert read(tmp_path) == {}
    assert read(tmp_path / "nowhere") == {}


def test_a_rank_that_is_through_is_not_waited_for(tmp_path: Path) -> None:
    heart = Heartbeat(tmp_path, 0, clock=lambda: 1000.0)
    assert [beat.rank for beat in stale(read(tmp_path).values(), 1031, 30)] == [0]
    assert stale(read(tmp_path).values(), 1030, 30) == []
    heart.close()
    assert stale(read(tmp_path).values(), 9999, 30) == []


@pytest.mark.parametrize(
    ("places", "held_up_by"),
    [
        ({0: (7, "backward"), 1: (7, "forward"), 2: (7, "backward")}, [1]),
        ({0: (7, "backward"), 1: (6, "update"), 2: (8, "data")}, [1]),
        ({0: (7, "backward"), 1: (7, "backward")}, [0, 1]),
        ({}, []),
    ],
)
def test_who_has_come_least_far_holds_up_the_others(places: dict[int, tuple[int, str]], held_up_by: list[int]) -> None:
    beats = [Beat(rank, 1, step, phase, 0.0) for rank, (step, phase) in places.items()]
    assert [beat.rank for beat in behind(beats)] == held_up_by


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(PHASES)), min_size=1, max_size=8))
def test_nobody_is_behind_whoever_is_named(places: list[tuple[int, str]]) -> None:
    beats = [Beat(rank, 1, step, phase, 0.0) for rank, (step, phase) in enumerate(places)]
    named = behind(beats)
    assert named and all(named[0].place <= beat.place for beat in beats)


def test_a_sign_that_is_taken_back_while_it_is_looked_for_is_none(tmp_path: Path) -> None:
    Heartbeat(tmp_path, 0)
    (tmp_path / "rank-1").symlink_to(tmp_path / "taken-back")  # named by the folder, and gone when it is opened
    assert list(read(tmp_path)) == [0]
