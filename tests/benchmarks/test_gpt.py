"""How the trainer's cost is measured."""

import signal
from pathlib import Path

import pytest

from benchmarks.gpt import Run, run

STEPS = """
import signal, sys
for step in range(10, 40, 10):
    print(f"step {step}: loss 1.0", flush=True)
print("the end", flush=True)
if "stay" in sys.argv:
    signal.pause()
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "stepping.py").write_text(STEPS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "stepping"


def test_what_is_before_the_first_step_that_counts_is_not_measured() -> None:
    seen = Run({10: 100.0, 20: 101.0, 30: 103.0, 40: 105.0}, {})
    assert seen.steps_per_s(after=15) == 5.0
    assert seen.typical_steps_per_s(after=15) == 5.0
    with_checkpoint = Run({10: 0.0, 20: 1.0, 30: 7.0, 40: 8.0, 50: 9.0}, {})
    assert with_checkpoint.typical_steps_per_s(after=10) == 10.0


def test_the_steps_are_seen_as_they_are_printed(tmp_path: Path, program: str) -> None:
    found = run(tmp_path, program, ["0"])
    assert list(found.seen) == [10, 20, 30] and found.result == {}
    assert found.seen[10] <= found.seen[30]


def test_one_that_fails_is_no_measurement(tmp_path: Path, program: str) -> None:
    with pytest.raises(RuntimeError, match="stepping ended with 3"):
        run(tmp_path, program, ["3"])


def test_it_is_killed_at_a_step(tmp_path: Path, program: str) -> None:
    assert list(run(tmp_path, program, ["0", "stay"], kill_at=20).seen) == [10, 20]
    with pytest.raises(RuntimeError, match=f"ended with 0, not {-signal.SIGKILL}"):
        run(tmp_path, program, ["0"], kill_at=1000)
