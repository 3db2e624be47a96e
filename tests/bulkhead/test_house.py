"""Rules of the house that no linter checks."""

import ast
import re
import tokenize
from collections import defaultdict
from io import StringIO
from pathlib import Path

import pytest

from tests.imports import imported

ROOT = Path(__file__).parents[2]
_FOLDERS = ("bulkhead", "operators", "plugins", "gpu_tasks", "dags", "tests", "benchmarks")
_BARE = re.compile(
    r"(from|import) (operators|plugins|gpu_tasks)\b"  # as a statement
    r"|(?<![\w./-])(operators|plugins|gpu_tasks)\.(?!py\b)[a-z_]"  # as a path: of a class, a module, in a sentence
    r"|-m (operators|plugins|gpu_tasks)\b"
)
_HEAVY = {"airflow", "torch", "mlflow", "great_expectations", "sklearn", "matplotlib"}


@pytest.mark.parametrize("module", ["bulkhead.cli", "bulkhead.control", "bulkhead.rollout.reconciler"])
def test_the_core_imports_nothing_heavy(module: str) -> None:
    assert imported(f"import {module}") & _HEAVY == set()


def test_the_supervisor_of_a_pod_stays_small() -> None:
    assert (
        imported("import bulkhead.runtimes.local.supervisor") & (_HEAVY | {"kubernetes", "sqlalchemy", "pydantic"})
        == set()
    )


@pytest.mark.parametrize(
    "module",
    [
        "bulkhead.operators.train",
        "bulkhead.operators.evaluate",
        "bulkhead.operators.deploy",
        "bulkhead.plugins.airflow_plugin",
    ],
)
def test_what_a_dag_imports_takes_neither_torch_nor_mlflow(module: str) -> None:
    assert imported(f"import {module}") & (_HEAVY - {"airflow"}) == set()


@pytest.mark.parametrize(
    "module", ["bulkhead.gpu_tasks.train", "bulkhead.gpu_tasks.evaluate", "bulkhead.gpu_tasks.serve"]
)
def test_a_pods_program_starts_without_airflow(module: str) -> None:
    assert "airflow" not in imported(f"import {module}")


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    sizes = {path: len(path.read_text().splitlines()) for folder in _FOLDERS for path in ROOT.glob(f"{folder}/**/*.py")}
    assert {str(path): lines for path, lines in sizes.items() if lines > 400} == {}


def test_airflows_folder_loader_is_kept_out_of_plugins() -> None:
    assert (ROOT / "plugins" / ".airflowignore").read_text().split("\n")[0] == "*"


def test_nothing_is_named_without_the_package_that_it_is_in() -> None:
    texts = [
        path
        for folder in (*_FOLDERS, "docs")
        for kind in ("py", "md", "yaml")
        for path in ROOT.glob(f"{folder}/**/*.{kind}")
    ]
    texts += [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "pyproject.toml", "Makefile")]
    users_own = {ROOT / "tests" / "packaging" / "test_wheel.py", Path(__file__)}
    bare = {
        str(path): found[0] for path in texts if path not in users_own and (found := _BARE.search(path.read_text()))
    }
    assert bare == {}


def test_a_name_of_a_class_stands_for_one_thing() -> None:
    places = defaultdict(list)
    for folder in ("bulkhead", "operators", "plugins", "gpu_tasks"):
        for path in (ROOT / folder).rglob("*.py"):  # does not follow the links to the other folders
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


_RETIRED = frozenset(
    [
        "rung",
        "rungs",
        "Rung",
        "tellers",
        "quarters",
        "keeper",
        "let_go",
        "cut_off",
        "episode",
        "strays",
        "stand_ins",
        "gpu_stand_ins",
        "HealthyFirst",
        "once_more",
        "Standing",
        "LeftTrigger",
        "World",
        "Trial",
        "Patience",
        "sick",
        "SICK",
        "Blame",
        "hold_s",
        "quick_ms",
        "max_s",
        "blind_s",
        "insufficient",
        "told",
        "look",
        "looks",
        "settle",
        "place_of",
        "Built",
        "among",
        "term_s",
        "complain",
        "healthy_timeout",
        "nudge",
        "turn_round",
        "take_back",
        "give_traffic",
    ]
)
"""Words that had another name in the field; docs/glossary.md has those of now."""


_NAMELESS = frozenset(["one", "found", "told", "known", "wanted"])
"""What says nothing of the thing that a variable holds: a pod, an intent, a row."""


def test_variables_are_called_by_what_they_hold() -> None:
    nameless = set()
    for folder in ("bulkhead", "operators", "plugins", "gpu_tasks", "dags", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                name = node.arg if isinstance(node, ast.arg) else getattr(node, "id", getattr(node, "name", None))
                if name in _NAMELESS:
                    nameless.add(f"{path.relative_to(ROOT)}: {name}")
    assert nameless == set()


def test_no_retired_word_is_a_name_again() -> None:
    again = defaultdict(set)
    for folder in ("bulkhead", "operators", "plugins", "gpu_tasks", "dags"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.parent.name != "versions":  # what is migrated had the words of its day
                for token in tokenize.generate_tokens(StringIO(path.read_text()).readline):
                    if token.type == tokenize.NAME and token.string in _RETIRED:
                        again[token.string].add(str(path.relative_to(ROOT)))
    assert again == {}
