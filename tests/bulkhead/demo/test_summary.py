import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bulkhead.demo import summary
from bulkhead.demo.summary import Release
from bulkhead.demo.traffic import Answer


def _release(name: str, result: str, failed: int) -> Release:
    back = result == "rolled_back"
    return Release(
        name=name,
        run_id=f"{name}-release",
        revision="digits-1b1eebf5",
        result=result,
        reason="3 of 12 (25.0%) requests failed" if back else "held",
        detect_s=2.3456 if back else None,
        rollback_s=0.0204 if back else None,
        begin=0.0,
        end=10.0,
        requests=400,
        failed=failed,
        failed_elsewhere=0,
        last_failed_s=0.2506 if back else None,
    )


RELEASES = [_release("good", "promoted", 0), _release("bad", "rolled_back", 3)]
ANSWERS = [Answer(index / 40, "old" if index % 10 else "new", True, True, 0.01) for index in range(400)]


def test_the_line_for_programs_is_as_documented() -> None:
    line = summary.as_json("demo", RELEASES, 0, 123.456, [])
    assert "\n" not in line
    document = json.loads(line)
    assert document["metric"] == "demo"
    assert document["releases"][1] == {
        "revision": "digits-1b1eebf5",
        "result": "rolled_back",
        "reason": "3 of 12 (25.0%) requests failed",
        "detect_s": 2.346,
        "rollback_s": 0.02,
        "last_failed_s": 0.251,
        "requests": 400,
        "failed": 3,
    }
    assert document["releases"][0]["detect_s"] is None
    assert (document["client_connection_errors"], document["seconds"], document["held"]) == (0, 123.5, True)
    assert not json.loads(summary.as_json("demo", RELEASES, 0, 1.0, ["the alias moved"]))["held"]


@pytest.mark.parametrize("width", [80, 120])
def test_a_person_reads_the_table_without_folding(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width)
    console.print(summary.table(RELEASES))
    console.print(summary.reasons(RELEASES))
    text = out.getvalue()
    for word in ("digits-1b1eebf5", "rolled_back", "2.35 s", "0.02 s", "0.75%", "bad: 3 of 12 (25.0%) requests failed"):
        assert word in text


def test_the_chart_shows_every_revision_in_its_share() -> None:
    out = io.StringIO()
    summary.terminal_chart(Console(file=out, width=80), ANSWERS, ["old", "new"])
    lines = out.getvalue().splitlines()
    assert "from the first request on (10 s)" in lines[0]
    assert lines[1].startswith(" 100 % █") and "old" in lines[-1] and "new" in lines[-1]


def test_without_answers_there_is_no_chart() -> None:
    out = io.StringIO()
    summary.terminal_chart(Console(file=out), [], [])
    assert out.getvalue() == ""


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    path = tmp_path / "traffic.png"
    summary.picture(path, ANSWERS, ["old", "new"], RELEASES)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
