"""Ground truth that comes late."""

from typing import Any

import pytest

from bulkhead.errors import InvalidInputError
from bulkhead.rollout.analysis.arms import Arm
from bulkhead.rollout.analysis.judge import StepVerdict, judge
from bulkhead.rollout.analysis.truth import Truth, broken, lacking
from bulkhead.rollout.plan import Step, parse_plan


def _limits(**limits: Any) -> Any:
    return parse_plan({"truth": {"auc": limits}}).truth


@pytest.mark.parametrize(
    ("limits", "candidate", "stable", "message"),
    [
        ({"at_least": 0.9}, 0.9, None, None),
        ({"at_least": 0.9}, 0.89, None, "auc is 0.89, at least 0.9 was asked for"),
        ({"at_most": 1.5}, 1.5, None, None),
        ({"max_drop": 0.25}, 0.5, 0.75, None),
        ({"at_most": 1.5}, 1.6, None, "auc is 1.6, at most 1.5 was asked for"),
        ({"max_drop": 0.02}, 0.9, 0.91, None),
        ({"max_drop": 0.02}, 0.9, 0.93, "auc is 0.9, more than 0.02 below stable's 0.93"),
        ({"max_drop": 0.02}, 0.1, None, None),
        ({"at_least": 0.9, "max_drop": 0.0}, None, 0.99, None),
        ({"at_least": 0.9, "at_most": 1.0}, float("nan"), 0.99, None),
        ({"max_drop": 0.02}, 0.1, float("nan"), None),
        ({"at_most": 1.0}, float("inf"), None, "auc is inf, at most 1 was asked for"),
    ],
)
def test_a_limit_is_held_against_what_is_known(
    limits: dict[str, float], candidate: float | None, stable: float | None, message: str | None
) -> None:
    truth = Truth(*({} if value is None else {"auc": value} for value in (candidate, stable)))
    assert broken(_limits(**limits), truth) == message


def test_a_metric_that_is_not_known_yet_hides_no_other() -> None:
    limits = parse_plan({"truth": {"auc": {"at_least": 0.9}, "f1": {"at_least": 0.8}}}).truth
    assert broken(limits, Truth({"f1": 0.7})) == "f1 is 0.7, at least 0.8 was asked for"


def test_only_what_is_required_lacks() -> None:
    assert lacking(_limits(at_least=0.9), Truth()) == []
    assert lacking(_limits(at_least=0.9, required=True), Truth()) == ["auc"]
    assert lacking(_limits(at_least=0.9, required=True), Truth({"auc": 1.0})) == []
    assert lacking(_limits(at_least=0.9, required=True), Truth({"auc": float("nan")})) == ["auc"]


def test_it_decides_even_without_a_reading_of_the_requests() -> None:
    plan = parse_plan({"truth": {"auc": {"at_least": 0.9}}})
    found = judge(plan, Step(weight=10), None, None, 1.0, truth=Truth({"auc": 0.5}))
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "ground-truth")
    assert found.numbers["truth"] == {"candidate": {"auc": 0.5}, "stable": {}}


def test_what_keeps_the_limits_passes_as_before() -> None:
    plan = parse_plan({"truth": {"auc": {"at_least": 0.9}}})
    well = Arm(requests=200, failures=0, timed=200, slow=0)
    found = judge(plan, Step(weight=50), well, well, 10.0, truth=Truth({"auc": 0.95}))
    assert found.verdict is StepVerdict.PASS


def test_a_limit_without_a_number_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"plan\.truth\.auc = .*: give at_least, at_most or max_drop"):
        _limits(required=True)
