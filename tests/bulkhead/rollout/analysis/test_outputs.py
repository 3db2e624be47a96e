import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.metrics.counters import Answers
from bulkhead.rollout.analysis.arms import Arm
from bulkhead.rollout.analysis.findings import Finding
from bulkhead.rollout.analysis.judge import Judgement, StepVerdict, judge
from bulkhead.rollout.analysis.outputs import disagreement, drift, invalid, stability_index, total_variation
from bulkhead.rollout.analysis.sequential import label_above, share_above
from bulkhead.rollout.plan import Plan, Step

PLAN = Plan(step_s=5, min_requests=20)
DIGITS = st.dictionaries(st.sampled_from("0123456789"), st.integers(1, 500), min_size=1)


def _arm(answers: Answers | None, requests: int = 0) -> Arm:
    n = requests or (max(answers.seen, answers.compared) if answers else 100)
    return Arm(n, 0, n, 0, answers=answers if answers is not None else None)


def _judge(ours: Answers | None, theirs: Answers | None, step: Step | None = None) -> Judgement:
    return judge(PLAN, step or Step(weight=50), _arm(ours), _arm(theirs), 10)


def _counts(rng: random.Random, n: int, shares: list[float]) -> dict[str, int]:
    return dict(Counter(str(choice) for choice in rng.choices(range(len(shares)), shares, k=n)))


def test_unusable_answers_fail_though_each_came_with_a_200() -> None:
    found = _judge(Answers(100, 30), Answers(100, 0))
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "invalid")
    assert "30 of 100 (30.0%) answers were not usable" in found.reason


def test_where_stable_cannot_answer_either_the_requests_are_to_blame() -> None:
    assert _judge(Answers(100, 30), Answers(100, 30)).rule == "stable-fails-too"


@pytest.mark.parametrize(("unusable", "over"), [(1, False), (2, True)])
def test_a_share_of_unusable_answers_that_is_the_limit_is_not_over_it(unusable: int, over: bool) -> None:
    plan = PLAN.model_copy(update={"max_invalid_rate": 0.01})
    found = invalid(plan, Answers(100, unusable), None)
    assert (found.rule, found.over, found.shared) == ("invalid", over, "")
    assert found.strength == share_above(unusable, 100, 0.01)


@pytest.mark.parametrize(("unusable", "shared"), [(2, False), (3, True)])
def test_stable_is_asked_more_leniently(unusable: int, shared: bool) -> None:
    """3 of 29 is evidence of exp(3.02), just above one in twenty."""
    plan = PLAN.model_copy(update={"max_invalid_rate": 0.01})
    message = (
        f"{unusable} of 29 ({unusable / 29:.1%}) answers were not usable (NaN, infinite, empty, not JSON), limit 1.0%"
    )
    assert invalid(plan, Answers(29, 20), Answers(29, unusable)).shared == (message if shared else "")


def test_a_model_that_predicts_one_class_is_found() -> None:
    found = _judge(Answers(300, 0, {"7": 300}), Answers(300, 0, {str(one): 30 for one in range(10)}))
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "drift")
    assert "total variation 0.900" in found.reason and "PSI" in found.reason


def test_drift_that_does_not_matter_is_none() -> None:
    ours, theirs = Answers(10**6, 0, {"a": 520_000, "b": 480_000}), Answers(10**6, 0, {"a": 500_000, "b": 500_000})
    assert _judge(ours, theirs).verdict is StepVerdict.PASS


def _drift(ours: dict[str, int], theirs: dict[str, int], weight: float = 0.5, **plan: float) -> Finding:
    return drift(PLAN.model_copy(update=plan), weight, Answers(categories=ours), Answers(categories=theirs))


def test_the_evidence_of_drift_is_the_mean_over_a_fixed_number_of_tests() -> None:
    tests = [label_above(90, 10, 0.2), label_above(10, 90, 0.8), label_above(10, 5, 0.2), label_above(5, 10, 0.8)]
    mean = (124 + sum(math.exp(test) for test in tests)) / 128
    assert _drift({"a": 9000, "b": 1000}, {"a": 990, "b": 10}, 0.2).strength == 0.0  # a distance of 0.09 is no matter
    assert _drift({"a": 90, "b": 10}, {"a": 10, "b": 5}, 0.2, max_drift=0.0).strength == pytest.approx(math.log(mean))
    tests = [label_above(90, 0, 0.2), label_above(0, 90, 0.8), label_above(0, 15, 0.2), label_above(15, 0, 0.8)]
    mean = (124 + sum(math.exp(test) for test in tests)) / 128
    assert _drift({"a": 90}, {"b": 15}, 0.2).strength == pytest.approx(math.log(mean))


@pytest.mark.parametrize(
    ("ours", "theirs"), [({"a": 12, "b": 8}, {"a": 8, "b": 12}), ({"a": 4}, {"b": 4}), ({"b": 4}, {"a": 4})]
)
def test_weak_evidence_of_drift_is_a_mean_with_those_that_say_nothing(
    ours: dict[str, int], theirs: dict[str, int]
) -> None:
    tests = [label_above(ours.get(name, 0), theirs.get(name, 0), 0.5) for name in "ab"]
    tests += [label_above(theirs.get(name, 0), ours.get(name, 0), 0.5) for name in "ab"]
    mean = (124 + sum(math.exp(test) for test in tests)) / 128
    assert _drift(ours, theirs, max_drift=0.0).strength == pytest.approx(math.log(mean), abs=1e-12)


def test_no_more_tests_than_were_fixed_beforehand_are_made_of_many_categories() -> None:
    ours = {f"a{number:03}": 200 - number for number in range(100)}
    theirs = {f"b{number:03}": 200 - number for number in range(100)}
    tests = [label_above(200 - number, 0, 0.5) for number in range(32) for _ in "ab"]
    tests += [label_above(0, 200 - number, 0.5) for number in range(32) for _ in "ab"]
    mean = sum(math.exp(test) for test in tests) / 128
    assert _drift(ours, theirs, max_drift=0.0).strength == pytest.approx(math.log(mean), abs=1e-12)


def test_of_many_categories_those_with_most_predictions_are_tested() -> None:
    small = [f"a{number:03}" for number in range(100)]
    ours, theirs = {**dict.fromkeys(small, 10), "z": 200}, {**dict.fromkeys(small, 9), "z": 800}
    assert _drift(ours, theirs).strength > 50
    fifty = [f"a{number:03}" for number in range(50)]
    more = dict.fromkeys(fifty, 10_000)
    assert _drift({**more, "z": 0}, {**more, "z": 9000}, max_drift=0.0).strength > 50


def test_a_distance_that_sampling_explains_or_that_is_the_limit_is_not_over_it() -> None:
    ours, theirs = {"a": 55, "b": 45}, {"a": 45, "b": 55}
    distance, noise = total_variation(Answers(categories=ours), Answers(categories=theirs))
    assert (distance, noise) == (pytest.approx(0.1), pytest.approx(0.0564, abs=1e-4))
    assert not _drift(ours, theirs, max_drift=0.09).over
    assert not _drift(ours, theirs, max_drift=distance - noise).over
    assert _drift(ours, theirs, max_drift=0.04).over


def test_disagreement_that_is_the_limit_is_not_over_it() -> None:
    plan = PLAN.model_copy(update={"max_disagreement": 0.1})
    assert not disagreement(plan, Answers(compared=100, agreed=90)).over
    assert disagreement(plan, Answers(compared=100, agreed=89)).over


def test_a_mirrored_candidate_that_answers_otherwise_than_stable_is_found() -> None:
    found = _judge(Answers(200, 0, {}, 200, 100), Answers(200), Step(mirror=100))
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "disagreement")
    assert "100 of 200 (50.0%) answers differ from stable's to the same request" in found.reason


def test_a_mirrored_candidate_that_mostly_agrees_passes() -> None:
    assert _judge(Answers(200, 0, {}, 200, 195), Answers(200), Step(mirror=100)).verdict is StepVerdict.PASS


def test_disagreement_that_may_be_chance_holds() -> None:
    found = _judge(Answers(30, 0, {}, 30, 26), Answers(30), Step(mirror=100))
    assert (found.verdict, found.rule) == (StepVerdict.HOLD, "disagreement-unclear")


def test_answers_that_cannot_be_read_hold() -> None:
    assert _judge(None, Answers(100)).rule == "no-answers"
    assert _judge(Answers(100), None).verdict is StepVerdict.PASS


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_models_that_predict_alike_are_not_taken_for_different(weight: float) -> None:
    """At most alpha of 300 healthy rollouts, looked at after each 20 requests, may be failed; the rule has 4 % of
    it."""
    rng, failed = random.Random(7), 0
    shares = [rng.random() for _ in range(10)]
    plan = PLAN.model_copy(update={"max_drift": 0.0, "alpha": 0.05})  # the strictest limit: chance alone decides
    for _ in range(300):
        ours: Counter[str] = Counter()
        theirs: Counter[str] = Counter()
        for _ in range(20):
            n = sum(rng.random() < weight for _ in range(40))
            ours.update(_counts(rng, n, shares))
            theirs.update(_counts(rng, 40 - n, shares))
            arms = [_arm(Answers(sum(seen.values()), 0, seen)) for seen in (ours, theirs)]
            if judge(plan, Step(weight=round(100 * weight)), *arms, 1).verdict is StepVerdict.FAIL:
                failed += 1
                break
    assert failed <= 300 * 0.05


@given(DIGITS, DIGITS)
def test_distances_are_symmetric_bounded_and_zero_for_the_same(a: dict[str, int], b: dict[str, int]) -> None:
    ours, theirs = Answers(categories=a), Answers(categories=b)
    distance, noise = total_variation(ours, theirs)
    assert 0 <= distance <= 1 + 1e-9 and noise >= 0
    assert math.isclose(distance, total_variation(theirs, ours)[0])
    assert math.isclose(stability_index(ours, theirs), stability_index(theirs, ours))
    assert total_variation(ours, ours)[0] == stability_index(ours, ours) == 0


def test_distances_by_hand() -> None:
    ours, theirs = Answers(categories={"a": 80, "b": 20}), Answers(categories={"a": 50, "b": 50})
    assert stability_index(ours, theirs) == pytest.approx(0.3 * math.log(4))
    distance, noise = total_variation(ours, theirs)
    assert (distance, noise) == (pytest.approx(0.3), pytest.approx(math.sqrt(0.65 * 0.35 * 0.04 / math.pi)))


@pytest.mark.parametrize(("ours", "theirs"), [({}, {"a": 1}), ({"a": 1}, {}), ({}, {})])
def test_without_predictions_of_both_there_is_no_distance(ours: dict[str, int], theirs: dict[str, int]) -> None:
    assert total_variation(Answers(categories=ours), Answers(categories=theirs)) == (0.0, 0.0)
    assert stability_index(Answers(categories=ours), Answers(categories=theirs)) == 0.0
