"""The table in the docs is the one in the code."""

from pathlib import Path

import pytest

from bulkhead.pods.outcome import FailureClass
from bulkhead.pods.policy import RULES, Action, Rule

TEXT = (Path(__file__).parents[2] / "docs" / "failures.md").read_text()
ROWS = {
    cells[0].strip("` "): [cell.strip() for cell in cells[2:]]
    for line in TEXT.splitlines()
    if line.startswith("| `") and (cells := line.strip("|").split("|"))
}


def test_every_rule_has_a_row_and_every_row_a_rule() -> None:
    assert set(ROWS) == {f"{named}/{kind}" if kind else str(named) for named, kind in RULES}


@pytest.mark.parametrize(("key", "rule"), list(RULES.items()), ids=[" ".join(key) for key in RULES])
def test_a_row_says_what_the_rule_does(key: tuple[FailureClass, str], rule: Rule) -> None:
    named, kind = key
    action, budget, more = ROWS[f"{named}/{kind}" if kind else str(named)]
    assert action == rule.action
    assert budget == ("" if rule.action is Action.FAIL else rule.budget)
    assert (f"at most {rule.at_most}×" in more) is (rule.at_most is not None)
    assert (f"after {rule.delay_s:g} s" in more) is (rule.delay_s > 0)
    assert ("suspected" in more) is rule.suspect
