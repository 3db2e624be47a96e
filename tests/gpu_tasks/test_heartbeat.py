"""Signs of progress, and who holds up whom."""

import os
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.gpu_tasks.heartbeat import PHASES, Beat, Heartbeat, Standstill, behind, forget, home, read


def test_the_last_sign_of_each_rank_is_read(tmp_path: Path) -> None:
    one, other = (Heartbeat(tmp_path / "job", rank, clock=lambda: 1000.5) for rank in (0, 11))
    one.beat(12, "backward")
    other.beat(12345678, "forward")
    one.beat(13, "data")  # shorter than what it replaces
    own = os.getpid()
    assert read(tmp_path / "job") == {
        0: Beat(0, own, 13, "data", 1000.5, home()),
        11: Beat(11, own, 12345678, "forward", 1000.5, home()),
    }


def test_what_is_no_sign_is_none(tmp_path: Path) -> None:
    for name, text in {
        "rank-0": "",
        "rank-1": "1 2 elsewhere 3",
        "rank-2": "x y data z",
        "rank-x": "1 2 data 3",
        "stacks-0.txt": "",
    }.items():
        (tmp_path / name).write_text(text)
    assert read(tmp_path) == {}
    assert read(tmp_path / "nowhere") == {}


class Watch:
    """Looks at signs on a clock of the test's own. Attributes: now (seconds), still."""

    def __init__(self, folder: Path) -> None:
        self.now, self.folder = 0.0, folder
        self.still = Standstill(lambda: self.now)

    def late(self, after_s: float, own: Collection[int] = ()) -> list[int]:
        self.now += after_s
        self.still.poll(read(self.folder), own)
        return [beat.rank for beat in self.still.late(30)]


def test_a_rank_that_stands_still_is_late_and_one_that_is_through_is_not(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    heart = Heartbeat(tmp_path, 0)
    assert watch.late(0, own=[0]) == []
    assert watch.late(30, own=[0]) == []
    assert watch.late(1, own=[0]) == [0]
    heart.beat(1, "data")
    assert watch.late(1, own=[0]) == []
    heart.close()
    assert watch.late(9999, own=[0]) == []


@pytest.mark.parametrize("skew_s", [-7200.0, -60.0, 0.0, 60.0, 7200.0])
def test_another_machines_clock_makes_nobody_late(tmp_path: Path, skew_s: float) -> None:
    watch = Watch(tmp_path)
    far = Heartbeat(tmp_path, 1, clock=lambda: 1.8e9 + skew_s + watch.now)
    for step in range(20):
        far.beat(step, "forward")
        assert watch.late(10) == []
    assert watch.late(31) == [1]


def test_a_clock_that_is_set_makes_nobody_late(tmp_path: Path) -> None:
    watch, jumps = Watch(tmp_path), iter([0.0, 0.0, 9999.0, 9999.0, -5000.0, -5000.0])
    far = Heartbeat(tmp_path, 1, clock=lambda: 1.8e9 + next(jumps))
    for step in range(5):
        far.beat(step, "forward")
        assert watch.late(10) == []


def test_a_sign_of_an_earlier_try_counts_once_it_moves(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    left = Heartbeat(tmp_path, 1)
    assert watch.late(0) == [] and watch.late(9999) == []
    left.beat(4, "data")
    assert watch.late(0) == [] and watch.late(31) == [1]


def test_one_that_was_taken_back_is_not_waited_for(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    watch.late(0)
    Heartbeat(tmp_path, 1)
    watch.late(1)
    (tmp_path / "rank-1").unlink()
    assert watch.late(9999) == []


def test_a_sign_of_another_pod_with_the_same_process_number_is_anothers(tmp_path: Path) -> None:
    Heartbeat(tmp_path, 0)
    (tmp_path / "rank-0").write_text(f"{os.getpid()} 0 start 1000.0 another/pod\n")
    forget(tmp_path, 0)
    assert read(tmp_path) == {}


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
