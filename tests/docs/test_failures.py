"""The tables in the docs are those in the code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bulkhead.pods.event_texts import before_it_runs, who_ended
from bulkhead.pods.failure import classify
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.policy import RULES, FailureAction, RetryRule
from tests import failed_pods, misread_pods

TEXT = (Path(__file__).parents[2] / "docs" / "failures.md").read_text()


def _rows(heading: str) -> dict[str, list[str]]:
    """Cells by name of the first table after a heading."""
    section = TEXT.partition(heading)[2].partition("\n\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {name.strip("` "): [cell.strip() for cell in cells] for name, *cells in rows}


ROWS = {name: cells[1:] for name, cells in _rows("decides:\n").items()}
EXAMPLES = {name: cells[0] for name, cells in _rows("## Every class and kind").items()}


def _name(failure: Failure) -> str:
    kind = re.sub(r"^xid-\d+$", "xid-N", failure.kind)
    return f"{failure.failure_class}/{kind}" if kind else str(failure.failure_class)


def _recorded() -> dict[str, list[str]]:
    """What the recorded pods of each name say."""
    found: dict[str, list[str]] = {}
    for title, pod, *_ in [*failed_pods.CASES, *misread_pods.CASES]:
        failure = classify(pod)
        assert failure is not None
        codes = " ".join(f"exit code {code}" for code in re.findall(r'"exitCode": (\d+)', json.dumps(pod)))
        found.setdefault(_name(failure), []).append(f"{title}\n{codes}\n{json.dumps(pod)}")
    return found


RECORDED = _recorded()


def test_every_name_of_a_recorded_pod_has_an_example() -> None:
    assert set(RECORDED) <= set(EXAMPLES)


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_an_example_is_a_recorded_pod_that_gets_the_name(name: str) -> None:
    said = EXAMPLES[name].strip("`")
    assert any(said in one or json.dumps(said)[1:-1] in one for one in RECORDED[name])


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - set(RECORDED) - {"cluster_unreachable"}))
def test_an_example_of_an_event_gets_the_name(name: str) -> None:
    found = re.match(r"event `(?P<reason>\w+)`.*: `(?P<message>.*)`$", EXAMPLES[name])
    assert found is not None
    event: dict[str, Any] = {**found.groupdict(), "count": 3}
    ended = classify(failed_pods.ended(143))
    failure = before_it_runs([event]) or who_ended(ended, [event]) if ended else None
    assert failure is not None and _name(failure) == name


def test_every_class_has_an_example() -> None:
    assert {name.partition("/")[0] for name in EXAMPLES} == {str(one) for one in FailureClass}


def test_every_rule_has_a_row_and_every_row_a_rule() -> None:
    assert set(ROWS) == {f"{named}/{kind}" if kind else str(named) for named, kind in RULES}


@pytest.mark.parametrize(("key", "rule"), list(RULES.items()), ids=[" ".join(key) for key in RULES])
def test_a_row_says_what_the_rule_does(key: tuple[FailureClass, str], rule: RetryRule) -> None:
    named, kind = key
    action, budget, more = ROWS[f"{named}/{kind}" if kind else str(named)]
    assert action == rule.action
    assert budget == ("" if rule.action is FailureAction.FAIL else rule.budget)
    assert (f"at most {rule.at_most}×" in more) is (rule.at_most is not None)
    assert (f"after {rule.delay_s:g} s" in more) is (rule.delay_s > 0)
    assert ("suspected" in more) is rule.suspect
