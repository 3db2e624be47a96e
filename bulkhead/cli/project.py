"""``bulkhead new``: a small project of the user's own that runs at once."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

import typer

from bulkhead.cli.console import app, console, errors_reported
from bulkhead.errors import ConflictError, InvalidInputError

_TEMPLATE = Path(__file__).parents[1] / "template"
_PACKAGE = "PACKAGE"
"""In names and texts of the template's files: the project's package."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,38}[a-z0-9]")


@app.command()
def new(
    project: Annotated[Path, typer.Argument(help="folder to make; its name is the package's")],
) -> None:
    """Lay down a project: DAG, training, data, checks, metric, tests. Nothing that is there is overwritten."""
    with errors_reported():
        files = lay_down(project)
    console.print(f"made {len(files)} files in {project}; next: cd {project}, pip install -e ., pytest; see README.md")


def lay_down(project: Path) -> list[Path]:
    """Make a project.

    Args:
        project: folder; made with those above it.

    Returns:
        The files.

    Raises:
        InvalidInputError: its name is none for a package.
        ConflictError: something is there already.
    """
    package = project.absolute().name.replace("-", "_")
    if not _NAME.fullmatch(package) or keyword.iskeyword(package):
        remedy = "use lower-case letters, digits and '_', a letter first, at most 40"
        raise InvalidInputError("project", project.name, remedy)
    if project.exists() and (not project.is_dir() or any(project.iterdir())):
        raise ConflictError(f"{project} is there already, and not empty: name another folder")
    made = []
    for source in sorted(path for path in _TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        target = project / str(source.relative_to(_TEMPLATE)).replace(_PACKAGE, package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8").replace(_PACKAGE, package), encoding="utf-8")
        made.append(target)
    return made
