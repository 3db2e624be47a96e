"""``python -m benchmarks.mutants``: how many changes of the code that decides are noticed by its tests.

mutmut changes that code in one place at a time (a bound, an operator, an argument, a word) and runs the tests that
come there. A change that no test notices has survived: either a test lacks, or it makes no difference. Of the second
kind each is listed in ``survivors.yaml``, with the reason why. What is changed, and which tests are run, is said in
``pyproject.toml``, ``[tool.mutmut]``. Each run restarts, in ``mutants/``: of an earlier one mutmut would keep what
survived although a test has come since, and would ask for tests that have another name now.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
EXPLAINED = Path(__file__).with_name("survivors.yaml")
LEAST = 0.95
"""Share of the changes that has to be noticed."""

_WORK = ROOT / "mutants"
_MUTMUT = str(Path(sys.executable).with_name("mutmut"))
_NOTICED = ("killed", "timeout", "segfault")
_ENDED = (*_NOTICED, "survived", "no tests")


@dataclass(frozen=True)
class Change:
    """One change of the code.

    Attributes:
        where: dotted name of the function.
        was: the lines as they are, without their indentation.
        now: what became of them; empty where they were left out.
    """

    where: str
    was: str
    now: str


def function(mutant: str) -> str:
    """The function that a mutant is one of.

    Args:
        mutant: as mutmut names it: ``package.module.xǁClassǁmethod__mutmut_3``, or ``….x_function__mutmut_3``.

    Returns:
        Its dotted name.
    """
    module, _, mangled = mutant.rpartition("__mutmut_")[0].rpartition(".")
    name = mangled.removeprefix("x").strip("ǁ").replace("ǁ", ".") if "ǁ" in mangled else mangled.removeprefix("x_")
    return f"{module}.{name}"


def change(mutant: str, diff: str) -> Change:
    """What a mutant changed.

    Args:
        diff: of the code before and after it, in the unified format.
    """
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was, now = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return Change(function(mutant), was, now)


def explained(text: str) -> dict[Change, str]:
    """Survivors that make no difference, each with the reason why.

    Args:
        text: of ``survivors.yaml``.
    """
    return {
        Change(where, entry["was"], entry.get("now", "")): entry["why"]
        for where, changes in (yaml.safe_load(text) or {}).items()
        for entry in changes
    }


def statuses(text: str) -> dict[str, str]:
    """What became of each mutant.

    Args:
        text: printed by ``mutmut results --all true``.

    Returns:
        ``killed``, ``survived``, ``no tests``, ``timeout`` and the like, by name.
    """
    return dict(re.findall(r"^\s+(\S+__mutmut_\d+): (.+)$", text, re.MULTILINE))


def verdict(
    status_of: dict[str, str], survived: Iterable[Change], explanations: dict[Change, str]
) -> dict[str, object]:
    """The numbers, and whether the bar was held.

    Args:
        status_of: what became of each mutant.
        survived: changes that no test noticed.
        explanations: those that make no difference.
    """
    counts = Counter(status_of.values())
    made, killed = len(status_of), sum(counts[status] for status in _NOTICED)
    new = sorted(
        {mutant for mutant in survived if mutant not in explanations},
        key=lambda change: (change.where, change.was, change.now),
    )
    unsettled = made - sum(counts[status] for status in _ENDED)
    return {
        "metric": "mutants",
        "made": made,
        "killed": killed,
        "share": round(killed / made, 4) if made else 0.0,
        "unsettled": unsettled,
        "survivors": made - killed - unsettled,
        "unexplained": [f"{mutant.where}: {mutant.was} -> {mutant.now}" for mutant in new],
        "held": bool(made) and killed >= LEAST * made and not new and not unsettled,
    }


def _mutmut(*words: str) -> str:
    return subprocess.run([_MUTMUT, *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> int:
    """Try every change, print one JSON line, and return whether the bar was held as an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("only", nargs="*", help="names of mutants to try, * for any; else all")
    parser.add_argument("--children", type=int, default=2, help="how many are tried at once")
    arguments = parser.parse_args()
    if _WORK.exists():
        shutil.rmtree(_WORK)
    run = [_MUTMUT, "run", "--max-children", str(arguments.children), *arguments.only]
    # The process of a mutant ends without its session's cleaning up: what is left goes with this folder.
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        subprocess.run(run, cwd=ROOT, env={**os.environ, "TMPDIR": folder}, check=True, stdout=sys.stderr)
    status_of = statuses(_mutmut("results", "--all", "true"))
    survived = [
        change(name, _mutmut("show", name)) for name, how in status_of.items() if how in ("survived", "no tests")
    ]
    document = verdict(status_of, survived, explained(EXPLAINED.read_text()))
    print(json.dumps(document, ensure_ascii=False))
    return 0 if document["held"] else 1


if __name__ == "__main__":
    sys.exit(main())
