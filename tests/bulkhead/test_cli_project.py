"""``bulkhead new``: what it lays down runs at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bulkhead.cli import app

runner = CliRunner()


def test_its_own_tests_pass_at_once(tmp_path: Path) -> None:
    project = tmp_path / "own" / "churn-model"
    done = runner.invoke(app, ["new", str(project)])
    assert done.exit_code == 0 and "pip install -e" in done.output.replace("\n", " ")
    files = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert files == {
        *("README.md", "pyproject.toml", "dags/churn_model_release.py", "tests/test_churn_model.py"),
        *(f"churn_model/{name}" for name in ("__init__.py", "data.py", "train.py", "metrics.py", "checks.json")),
    }
    assert not [path for path in project.rglob("*") if path.is_file() and "PACKAGE" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project), str(project)]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    tested = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=project, check=False)
    assert tested.returncode == 0 and "4 passed" in tested.stdout, tested.stdout + tested.stderr


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn" / "notes").touch()
    done = runner.invoke(app, ["new", str(tmp_path / "churn")])
    assert done.exit_code == 2 and "and not empty: name another folder" in done.output.replace("\n", " ")
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["notes"]


@pytest.mark.parametrize("name", ["Churn", "9lives", "class", "a b", "x"])
def test_a_name_that_no_package_may_have_is_refused(tmp_path: Path, name: str) -> None:
    done = runner.invoke(app, ["new", str(tmp_path / name)])
    assert done.exit_code == 2 and f"project = '{name}': use lower-case letters" in done.output.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []
