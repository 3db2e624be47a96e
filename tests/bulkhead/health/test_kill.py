"""A fleet's watch that is killed just before every single effect: ledger and nodes say the same after the next poll."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkhead.ledger.tables import QuarantinePhase
from tests.programs.fleet_step import BEGIN, FolderNodes, quarantines, step

pytestmark = pytest.mark.faults

# Forks of a server that has no threads: a fork of this process would inherit locks that other tests' threads hold.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.programs.fleet_step"])


def killed(folder: Path, now: float, unhealthy: bool, kill_at: int) -> int | None:
    process = _processes.Process(target=step, args=(folder, now, unhealthy, kill_at))
    process.start()
    process.join(240)
    return process.exitcode


def everywhere(base: Path, prepare: Callable[[Path], None], now: float, unhealthy: bool) -> list[Path]:
    """Kill a step before each of its effects, then take it again; the folders that result."""

    def fresh(name: str) -> Path:
        folder = base / name
        (folder / "nodes").mkdir(parents=True)
        prepare(folder)
        return folder

    counted = fresh("counted")
    assert killed(counted, now, unhealthy, -1) == 0
    points = len(json.loads((counted / "effects.json").read_text()))
    assert points >= 4
    folders = [fresh(str(point)) for point in range(points)]
    for point, folder in enumerate(folders):
        assert killed(folder, now, unhealthy, point) == -9
        step(folder, now + 15, unhealthy)
    shutil.rmtree(counted)
    return folders


def held(folder: Path) -> None:
    step(folder, BEGIN + 1, unhealthy=True)
    quarantines(folder, BEGIN + 2).passed("a0", "quick")


def on_probation(folder: Path) -> None:
    held(folder)
    step(folder, BEGIN + 3, unhealthy=False)


def stands(folder: Path) -> tuple[list[tuple[str, str | None]], set[str], list[str]]:
    own = quarantines(folder, BEGIN)
    rows = [
        (str(quarantine.phase), quarantine.applied_phase and str(quarantine.applied_phase))
        for quarantine in own.open_ones()
    ]
    return rows, FolderNodes(folder / "nodes").held(), [one.target for one in own.unapplied()]


def test_while_it_starts_a_quarantine(tmp_path: Path) -> None:
    for folder in everywhere(tmp_path, lambda _: None, BEGIN + 1, unhealthy=True):
        assert stands(folder) == ([("held", "held")], {"a"}, [])


def test_while_it_begins_a_probation(tmp_path: Path) -> None:
    for folder in everywhere(tmp_path, held, BEGIN + 3, unhealthy=False):
        assert stands(folder) == ([("probation", "probation")], set(), [])


def test_while_it_releases(tmp_path: Path) -> None:
    for folder in everywhere(tmp_path, on_probation, BEGIN + 200, unhealthy=False):
        assert stands(folder) == ([], set(), [])
        assert [event.kind for event in _events(folder)].count("quarantine-ended") == 1


def _events(folder: Path) -> list[object]:
    from bulkhead.ledger.ledger import Ledger

    return list(Ledger(f"sqlite:///{folder}/ledger.db").events.select())


def test_phases_are_those_of_the_ledger() -> None:
    assert [str(one) for one in QuarantinePhase] == ["held", "manual", "probation", "ended"]
