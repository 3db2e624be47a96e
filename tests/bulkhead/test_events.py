import ast
from pathlib import Path

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.events import UNCLEAR, EventKind, Rule, decides
from bulkhead.ledger.tables import Phase
from bulkhead.rollout.analysis.findings import SHARES
from bulkhead.settings import load

ROOT = Path(__file__).parents[2]
_TOLD_ELSEWHERE = {"error", "drift", "device", "isolated", "approval", "latency", "burn", "invalid"}
"""Words that mean something else as well, somewhere."""


def test_the_tests_that_share_alpha_are_rules() -> None:
    assert set(SHARES) <= set(Rule)


def test_no_kind_of_event_is_the_name_of_a_phase() -> None:
    assert not set(EventKind) & set(Phase)


def test_what_can_end_a_rollout_may_be_isolated_for() -> None:
    assert decides("errors") and decides(Rule.NOT_SERVING) and decides(Rule.ERRORS + UNCLEAR)
    assert not decides("within-limits") and not decides("error-rate") and not decides("")


def test_an_isolation_for_a_rule_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("services: {digits: {port: 8080, admin_port: 9901, isolation: {not-servin: [network]}}}")
    with pytest.raises(
        InvalidInputError, match=r"services\.digits\.isolation = .*'not-servin' is no rule: .*not-serving"
    ):
        load(file=str(file))


def test_nobody_writes_a_rule_out() -> None:
    """One that is misspelt would decide nothing, and isolate nothing."""
    words = {str(rule) for rule in Rule} - _TOLD_ELSEWHERE
    found = []
    for path in (ROOT / "bulkhead" / "rollout").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in words:
                found.append(f"{path.name}:{node.lineno}: {node.value}")
    assert found == []
