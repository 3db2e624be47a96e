"""How the mutants are counted, and that what is said of survivors is said of the code as it is."""

import importlib
import inspect
from functools import reduce

import pytest

from benchmarks.mutants import EXPLAINED, Change, change, explained, function, statuses, verdict

DIFF = """# a.b.x_f__mutmut_1: survived
--- a/b.py
+++ a/b.py
@@ -1,3 +1,3 @@
 def f(x):
-    return x < 0
+    return x <= 0
"""
FOUND = {f"a.x_f__mutmut_{number}": "killed" for number in range(95)}


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        ("a.b.x_f__mutmut_12", "a.b.f"),
        ("a.b.x__f__mutmut_1", "a.b._f"),
        ("a.b.xǁTallyǁtake__mutmut_40", "a.b.Tally.take"),
        ("a.b.xǁTallyǁ__init____mutmut_2", "a.b.Tally.__init__"),
    ],
)
def test_a_mutant_belongs_to_a_function(mutant: str, name: str) -> None:
    assert function(mutant) == name


def test_a_change_is_what_was_and_what_became_of_it() -> None:
    assert change("a.b.x_f__mutmut_1", DIFF) == Change("a.b.f", "return x < 0", "return x <= 0")
    removed = DIFF.replace("+    return x <= 0\n", "")
    assert change("a.b.x_f__mutmut_1", removed) == Change("a.b.f", "return x < 0", "")


def test_results_are_read() -> None:
    text = (
        "    a.x_f__mutmut_1: killed\n    a.xǁTǁf__mutmut_2: no tests\n    a.x_f__mutmut_3: not checked\nother: line\n"
    )
    assert statuses(text) == {
        "a.x_f__mutmut_1": "killed",
        "a.xǁTǁf__mutmut_2": "no tests",
        "a.x_f__mutmut_3": "not checked",
    }


@pytest.mark.parametrize(
    ("more", "known", "held"),
    [
        ({}, True, True),
        ({"a.x_f__mutmut_95": "timeout"}, True, True),
        ({f"a.x_f__mutmut_{number}": "survived" for number in range(95, 100)}, True, True),
        ({f"a.x_f__mutmut_{number}": "survived" for number in range(95, 101)}, True, False),
        ({"a.x_f__mutmut_95": "survived"}, False, False),
        ({"a.x_f__mutmut_95": "no tests"}, False, False),
        ({"a.x_f__mutmut_95": "not checked"}, True, False),
        ({"a.x_f__mutmut_95": "suspicious"}, True, False),
    ],
)
def test_the_bar_is_held_by_enough_killed_and_every_survivor_explained(
    more: dict[str, str], known: bool, held: bool
) -> None:
    survived = [change(name, DIFF) for name, how in more.items() if how in ("survived", "no tests")]
    why = dict.fromkeys(survived, "it makes no difference") if known else {}
    found = verdict({**FOUND, **more}, survived, why)
    assert found["held"] is held
    assert found["unexplained"] == ([] if known else ["a.f: return x < 0 -> return x <= 0"])


def test_nothing_tried_is_not_held() -> None:
    assert verdict({}, [], {})["held"] is False


def test_every_explained_survivor_is_code_as_it_is() -> None:
    known = explained(EXPLAINED.read_text())
    assert known and all(why for why in known.values())
    for one in known:
        module, _, name = one.where.rpartition(".")
        if not module.rpartition(".")[2].islower():
            module, _, owner = module.rpartition(".")
            name = f"{owner}.{name}"
        source = inspect.getsource(reduce(getattr, name.split("."), importlib.import_module(module)))
        assert one.was in " ".join(line.strip() for line in source.splitlines()), one
