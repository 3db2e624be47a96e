"""The examples in docs/gate.md say what they say there."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "gate.md").read_text()


def test_the_example_prints_what_stands_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    dag, program, printed = re.findall(r"```(?:python)?\n(.+?)```", TEXT, re.DOTALL)
    exec(compile(dag, "docs/gate.md", "exec"), {})
    capsys.readouterr()
    exec(compile(program, "docs/gate.md", "exec"), {})
    assert capsys.readouterr().out == printed
