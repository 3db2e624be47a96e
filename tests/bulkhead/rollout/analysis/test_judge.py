import math
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.metrics.counters import Answers, Counters
from bulkhead.rollout.analysis.arms import Arm
from bulkhead.rollout.analysis.burn import BurnReading, burn
from bulkhead.rollout.analysis.findings import SHARES
from bulkhead.rollout.analysis.judge import StepVerdict, evidence, judge
from bulkhead.rollout.analysis.sequential import label_above, share_above
from bulkhead.rollout.plan import RETURN, Plan, Step, parse_plan

PLAN = Plan(step_s=5, min_requests=20, max_error_rate=0.01, latency_ms=250, max_slow_rate=0.05, alpha=0.001)
WELL = Arm(requests=200, failures=0, timed=200, slow=0)


def _verdict(
    candidate: Arm | None, stable: Arm | None = WELL, elapsed_s: float = 10, weight: int = 50
) -> tuple[StepVerdict, str]:
    found = judge(PLAN, Step(weight=weight), candidate, stable, elapsed_s)
    return found.verdict, found.rule


@pytest.mark.parametrize(
    ("candidate", "stable", "elapsed_s", "expected"),
    [
        (WELL, WELL, 10, (StepVerdict.PASS, "within-limits")),
        (WELL, None, 10, (StepVerdict.PASS, "within-limits")),
        (None, WELL, 10, (StepVerdict.HOLD, "no-data")),
        (Arm(0, 0, 0, 0), WELL, 10, (StepVerdict.HOLD, "min-requests")),
        (Arm(19, 0, 19, 0), WELL, 10, (StepVerdict.HOLD, "min-requests")),
        (WELL, WELL, 4.9, (StepVerdict.HOLD, "min-time")),
        (Arm(200, 50, 200, 0), WELL, 0.5, (StepVerdict.FAIL, "errors")),
        (Arm(5, 5, 5, 0), WELL, 0.5, (StepVerdict.FAIL, "errors")),
        (Arm(200, 0, 200, 100), WELL, 0.5, (StepVerdict.FAIL, "latency")),
        (Arm(200, 50, 200, 0), Arm(200, 60, 200, 0), 10, (StepVerdict.HOLD, "stable-fails-too")),
        (Arm(200, 50, 200, 0), None, 10, (StepVerdict.FAIL, "errors")),
        (Arm(50, 1, 50, 0), WELL, 10, (StepVerdict.HOLD, "errors-unclear")),
        (Arm(40, 0, 40, 3), WELL, 10, (StepVerdict.HOLD, "latency-unclear")),
    ],
)
def test_verdicts(
    candidate: Arm | None, stable: Arm | None, elapsed_s: float, expected: tuple[StepVerdict, str]
) -> None:
    assert _verdict(candidate, stable, elapsed_s) == expected


def test_one_failure_among_few_requests_is_not_enough_to_fail() -> None:
    assert _verdict(Arm(3, 1, 3, 0))[0] is StepVerdict.HOLD


def test_the_reason_names_the_numbers() -> None:
    found = judge(PLAN, Step(weight=100), Arm(12, 5, 12, 0), WELL, 3.2)
    assert found.reason == "5 of 12 (41.7%) requests failed, limit 1.0%"
    assert (found.numbers["candidate"]["failures"], found.numbers["stable"]["requests"]) == (5, 200)
    assert found.numbers["window_s"] == 3.2


def test_going_back_is_not_judged() -> None:
    assert judge(RETURN, Step(weight=100), None, None, 0).verdict is StepVerdict.PASS


@given(
    st.integers(0, 10_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.none() | st.builds(Arm, st.integers(0, 99), st.just(0), st.integers(0, 99), st.just(0)),
    st.floats(0, 1e6),
)
def test_no_traffic_and_too_little_of_it_neither_pass_nor_fail(
    requests: int, failing: float, slow: float, stable: Arm | None, elapsed_s: float
) -> None:
    seen = Arm(requests, int(requests * failing), requests, int(requests * slow))
    verdict, _ = _verdict(seen, stable, elapsed_s)
    if requests == 0:
        assert verdict is StepVerdict.HOLD
    if requests < PLAN.min_requests:
        assert verdict is not StepVerdict.PASS


# Whose mistake it was


def _refused(requests: int, refused: int, **errors: int) -> Arm:
    """An arm with clients' mistakes."""
    statuses = {"200": requests - refused, "400": refused}
    return Arm(requests, 0, requests, 0, client_errors=refused, statuses=statuses, answers=Answers(errors=errors))


def test_clients_that_send_nonsense_stop_no_release() -> None:
    first = judge(PLAN, Step(weight=100), _refused(60, 40), None, 10)
    assert (first.verdict, first.reason) == (
        StepVerdict.PASS,
        "0 of 20 (0.0%) failed, 0 of 60 (0.0%) slow; beside them 40 client errors",
    )
    assert (first.numbers["candidate"]["client_errors"], first.numbers["candidate"]["statuses"]) == (40, {"400": 40})
    assert _verdict(_refused(400, 100), _refused(400, 96)) == (StepVerdict.PASS, "within-limits")


def test_nonsense_alone_is_no_evidence() -> None:
    first = judge(PLAN, Step(weight=100), _refused(40, 40), None, 10)
    assert (first.verdict, first.rule) == (StepVerdict.HOLD, "min-requests")
    assert first.reason == "0 of at least 20 requests so far; beside them 40 client errors"


def test_nonsense_does_not_hide_failures() -> None:
    diluted = Arm(10_000, 50, 10_000, 0, client_errors=9900, statuses={"200": 50, "500": 50, "400": 9900})
    assert _verdict(diluted, None) == (StepVerdict.FAIL, "errors")


def test_a_candidate_that_refuses_what_stable_takes_is_blamed() -> None:
    candidate = _refused(400, 100, **{"400 Missing inputs: ['age']": 90, "400 other": 10, "500 no": 99})
    found = judge(PLAN, Step(weight=50), candidate, _refused(400, 4), 10)
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "client-errors")
    assert found.reason == (
        "100 of 400 (25.0%) requests were refused as the client's mistake, mostly 400 (Missing inputs: ['age']), "
        "of stable's 4 of 400 (1.0%)"
    )


def test_the_reason_names_the_commonest_status_and_what_was_said() -> None:
    statuses = {"200": 6, "500": 4, "503": 2, "400": 9}
    answers = Answers(errors={"500 ValueError: \x00 y": 1, "500 KeyError: 'age'": 3, "400 no": 9, "503 z": 2})
    found = judge(PLAN, Step(weight=100), Arm(21, 6, 21, 0, {}, answers, 0, 9, statuses), WELL, 3.2)
    message = "6 of 12 (50.0%) requests failed, mostly 500 (KeyError: 'age'), limit 1.0%; beside them 9 client errors"
    assert found.reason == message
    silent = judge(PLAN, Step(weight=100), Arm(12, 5, 12, 0, statuses={"none": 5}), WELL, 3.2)
    assert silent.reason == "5 of 12 (41.7%) requests failed, mostly without an answer, limit 1.0%"


# Against stable over the same time


def test_more_errors_than_stable_are_found_under_the_limit_for_both() -> None:
    plan = PLAN.model_copy(update={"max_error_rate": 0.2, "alpha": 0.01})
    found = judge(plan, Step(weight=50), Arm(1000, 100, 1000, 0), Arm(1000, 20, 1000, 0), 10)
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "more-errors")
    assert found.reason == "100 of 1000 (10.0%) requests failed, of stable's 20 of 1000 (2.0%)"


def test_an_incident_of_both_blames_nobody() -> None:
    found = judge(PLAN, Step(weight=10), Arm(100, 60, 100, 0), Arm(900, 540, 900, 0), 10)
    assert (found.verdict, found.rule) == (StepVerdict.HOLD, "stable-fails-too")


def test_a_candidate_much_worse_than_a_failing_stable_is_to_blame() -> None:
    found = judge(PLAN, Step(weight=50), Arm(500, 450, 500, 0), Arm(500, 30, 500, 0), 10)
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "more-errors")


def test_a_difference_that_does_not_matter_is_no_failure() -> None:
    plan = PLAN.model_copy(update={"max_error_rate": 0.2})
    candidate, stable = Arm(100_000, 900, 100_000, 0), Arm(100_000, 100, 100_000, 0)
    assert judge(plan, Step(weight=50), candidate, stable, 10).verdict is StepVerdict.PASS
    assert (
        judge(plan.model_copy(update={"min_effect": 0.001}), Step(weight=50), candidate, stable, 10).verdict
        is StepVerdict.FAIL
    )


def test_how_much_worse_it_may_be_is_the_users() -> None:
    plan = PLAN.model_copy(update={"max_error_rate": 0.4})
    candidate, stable = Arm(1000, 150, 1000, 0), Arm(1000, 50, 1000, 0)
    assert judge(plan, Step(weight=50), candidate, stable, 10).rule == "more-errors"
    assert (
        judge(plan.model_copy(update={"max_ratio": 4}), Step(weight=50), candidate, stable, 10).verdict
        is StepVerdict.PASS
    )


def test_slower_than_stable_is_found_at_whatever_bound_it_shows() -> None:
    candidate = Arm(500, 0, 500, 0, {10.0: 480, 100.0: 200, 250.0: 0})
    stable = Arm(500, 0, 500, 0, {10.0: 470, 100.0: 20, 250.0: 0})
    found = judge(PLAN, Step(weight=50), candidate, stable, 10)
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "slower")
    assert "200 of 500 (40.0%) requests took over 100 ms, of stable's 20 of 500 (4.0%)" in found.reason


def test_slower_than_stable_and_still_quick_is_no_failure() -> None:
    candidate, stable = Arm(500, 0, 500, 0, {10.0: 500, 100.0: 0}), Arm(500, 0, 500, 0, {10.0: 0, 100.0: 0})
    assert judge(PLAN, Step(weight=50), candidate, stable, 10).verdict is StepVerdict.PASS
    assert (
        judge(PLAN.model_copy(update={"latency_floor_ms": 5}), Step(weight=50), candidate, stable, 10).rule == "slower"
    )


def test_a_cold_start_is_no_failure() -> None:
    """As the demo found it: the candidate's first six requests, all slow, beside a warm stable revision."""
    candidate, stable = Arm(6, 0, 6, 0, {10.0: 6, 100.0: 6, 250.0: 0}), Arm(73, 0, 73, 0, {10.0: 0, 100.0: 0})
    assert judge(PLAN, Step(weight=10), candidate, stable, 2).verdict is StepVerdict.HOLD


def test_at_100_percent_nobody_is_left_to_compare_with() -> None:
    rules = {one.rule for one in evidence(PLAN, Step(weight=100), WELL, WELL)}
    assert rules == {"errors", "latency"} < {one.rule for one in evidence(PLAN, Step(weight=50), WELL, WELL)}


@pytest.mark.parametrize("stable", [Arm(0, 0, 0, 0), Arm(100, 0, 100, 0), Arm(90_000, 0, 90_000, 0)])
def test_where_the_traffic_was_not_split_as_planned_the_two_are_not_compared(stable: Arm) -> None:
    rules = {one.rule for one in evidence(PLAN, Step(weight=10), Arm(2000, 10, 2000, 0), stable)}
    assert rules == {"errors", "latency"}


# However often it is looked at


@pytest.mark.parametrize("both", [0.002, 0.01, 0.05])
def test_few_healthy_candidates_are_failed_though_looked_at_each_second(both: float) -> None:
    """Ten minutes a rollout, 20 requests a second, one in ten to the candidate; its limit is what both fail at."""
    plan = PLAN.model_copy(update={"alpha": 0.05, "max_error_rate": max(both, 0.01), "min_effect": 0.0})
    rng, failed, runs = random.Random(7), 0, 40
    for _ in range(runs):
        ours = theirs = failures = others = 0
        for _second in range(600):
            for _request in range(20):
                fails = rng.random() < both
                if rng.random() < 0.1:
                    ours, failures = ours + 1, failures + fails
                else:
                    theirs, others = theirs + 1, others + fails
            if (
                judge(plan, Step(weight=10), Arm(ours, failures, 0, 0), Arm(theirs, others, 0, 0), 1).verdict
                is StepVerdict.FAIL
            ):
                failed += 1
                break
    assert failed / runs <= 0.05


def test_an_outright_failure_is_found_within_twenty_requests() -> None:
    rng, needed = random.Random(3), []
    for _ in range(101):
        failures = requests = 0
        while (
            judge(PLAN, Step(weight=10), Arm(requests, failures, 0, 0), Arm(9 * requests, 0, 0, 0), 1).verdict
            is not StepVerdict.FAIL
        ):
            requests, failures = requests + 1, failures + (rng.random() < 0.5)
        needed.append(requests)
    assert sorted(needed)[50] <= 20


# The chance of a false alarm is the whole rollout's: both of its parts are shared out


def test_the_shares_of_the_rules_are_no_more_than_the_whole() -> None:
    assert 0 < sum(SHARES.values()) <= 1 + 1e-12


@pytest.mark.parametrize("steps", [(100,), (50, 100), (1, 2, 5, 10, 25, 50, 75, 100)])
def test_what_is_asked_of_a_rule_grows_with_the_steps_and_with_its_share(steps: tuple[int, ...]) -> None:
    plan = PLAN.model_copy(update={"steps": tuple(Step(weight=weight) for weight in steps)})
    seen = Arm(requests=400, failures=20, timed=400, slow=0)
    found = judge(plan, Step(weight=50), seen, WELL, 10)
    strengths = {one.rule: one.strength for one in evidence(plan, Step(weight=50), seen, WELL)}
    assert strengths["errors"] > 1
    for rule, message in found.numbers["evidence"].items():
        asked = math.log(len(steps) / (plan.alpha * SHARES[rule]))
        assert message == round(max(0.0, strengths[rule]) / asked, 3)


def _fewest_failures(**changes: object) -> int:
    """How many of 200 requests have to fail for a verdict against the candidate, at 100 % of the traffic."""
    plan = PLAN.model_copy(update=changes)
    for failures in range(200):
        seen = Arm(requests=200, failures=failures, timed=200, slow=0)
        if judge(plan, plan.steps[-1], seen, None, 10).verdict is StepVerdict.FAIL:
            return failures
    raise AssertionError("nothing is enough")


def test_a_plan_of_many_steps_asks_for_more_evidence_at_each() -> None:
    many = tuple(Step(weight=weight) for weight in range(1, 101))
    assert _fewest_failures(steps=many) > _fewest_failures(steps=(Step(weight=100),))


def test_a_rule_has_its_share_of_alpha_and_not_all_of_it() -> None:
    one = (Step(weight=100),)
    whole = PLAN.alpha / SHARES["errors"]  # with so much, the rule's own share would be all of the plan's
    assert _fewest_failures(steps=one) > _fewest_failures(steps=one, alpha=whole)


# What is said, and the edges of what passes


@pytest.mark.parametrize(
    ("candidate", "elapsed_s", "rule", "message"),
    [
        (None, 10, "no-data", "no reading of the candidate, or its counters were reset"),
        (Arm(19, 0, 19, 0), 10, "min-requests", "19 of at least 20 requests so far"),
        (Arm(20, 0, 20, 0), 4.94, "min-time", "4.9 of 5 s so far"),
        (Arm(20, 0, 20, 0, answers=None), 5, "no-answers", "what the model answered could not be read"),
        (
            Arm(50, 1, 50, 0),
            5,
            "errors-unclear",
            "1 of 50 (2.0%) requests failed, limit 1.0%: over the limit, but not yet statistically significant",
        ),
        (Arm(20, 0, 20, 0, active=4), 5, "saturated", "4 requests in flight, limit 3"),
        (Arm(20, 0, 20, 1, active=3), 5, "within-limits", "0 of 20 (0.0%) failed, 1 of 20 (5.0%) slow"),
        (
            Arm(200, 50, 200, 0),
            5,
            "stable-fails-too",
            "50 of 200 (25.0%) requests failed, limit 1.0%; but stable fails too: "
            "60 of 200 (30.0%) requests failed, limit 1.0%",
        ),
    ],
)
def test_the_reason_says_what_is_lacking(candidate: Arm | None, elapsed_s: float, rule: str, message: str) -> None:
    plan = PLAN.model_copy(update={"max_active": 3})
    stable = Arm(200, 60, 200, 0) if candidate and candidate.failures == 50 else WELL
    found = judge(plan, Step(weight=50), candidate, stable, elapsed_s)
    assert (found.rule, found.reason, found.numbers["window_s"]) == (rule, message, elapsed_s)
    assert found.verdict is (StepVerdict.PASS if rule == "within-limits" else StepVerdict.HOLD)


def test_all_who_lack_ground_truth_are_named_and_it_is_asked_for_last() -> None:
    plan = parse_plan({"truth": {name: {"at_least": 0.5, "required": True} for name in ("f1", "auc")}, "step_s": 5})
    found = judge(plan, Step(weight=50), WELL, WELL, 10)
    assert (found.verdict, found.rule) == (StepVerdict.HOLD, "no-ground-truth")
    assert (found.reason, found.numbers["window_s"]) == ("auc, f1 of the candidate is not known yet", 10)
    assert judge(plan, Step(weight=50), WELL, WELL, 1).rule == "min-time"


def test_what_is_not_judged_says_so() -> None:
    found = judge(RETURN, Step(weight=100), WELL, None, 1.2345)
    assert (found.reason, found.rule) == ("the plan asks for no judgement", "not-judged")
    assert found.numbers["window_s"] == 1.23 and found.numbers["candidate"]["requests"] == 200
    assert found.numbers["stable"] is None


@pytest.mark.parametrize(
    ("step", "requests"), [(Step(approve=True), 0), (Step(headers={"x": "1"}), 20), (Step(mirror=1), 20)]
)
def test_where_nobody_asks_the_candidate_no_requests_are_waited_for(step: Step, requests: int) -> None:
    assert judge(PLAN, step, Arm(requests, 0, requests, 0), WELL, 10).verdict is StepVerdict.PASS
    if requests:
        assert judge(PLAN, step, Arm(requests - 1, 0, 0, 0), WELL, 10).rule == "min-requests"


def test_of_several_failures_the_most_certain_is_told_and_one_that_stable_shares_only_alone() -> None:
    both = Arm(200, 30, 200, 150)
    assert judge(PLAN, Step(weight=100), both, None, 10).rule == "latency"
    found = judge(PLAN, Step(weight=100), both, Arm(200, 0, 200, 150), 10)
    assert (found.verdict, found.rule) == (StepVerdict.FAIL, "errors")


def test_the_rules_that_are_asked_are_those_with_something_to_look_at() -> None:
    def asked(plan: Plan, step: Step, ours: Answers | None, theirs: Answers | None) -> set[str]:
        arms = (Arm(200, 0, 200, 0, answers=one) for one in (ours, theirs))
        return {one.rule for one in evidence(plan, step, *arms)} - {"errors", "latency"}

    alone, half = Step(weight=100), Step(weight=50)
    beside = {"more-errors", "client-errors", "slower"}
    assert asked(PLAN, alone, Answers(1), None) == {"invalid"}
    assert len(evidence(PLAN, alone, Arm(200, 0, 200, 0, answers=Answers(1)), None)) == 3
    [more] = [one for one in evidence(PLAN, half, Arm(200, 50, 200, 0), WELL) if one.rule == "more-errors"]
    assert more.strength == label_above(50, 0, 0.5)
    assert asked(PLAN, alone, Answers(compared=1), None) == {"disagreement"}
    assert asked(PLAN.model_copy(update={"objective": 0.9}), alone, None, None) == {"burn"}
    assert asked(PLAN, Step(headers={"x": "1"}), None, None) == set()
    assert asked(PLAN, half, None, None) == asked(PLAN, Step(mirror=50), None, None) == beside
    counted = Answers(categories={"1": 1})
    assert asked(PLAN, half, counted, counted) == {*beside, "drift"}
    assert asked(PLAN, half, counted, None) == asked(PLAN, half, None, counted) == beside
    assert asked(PLAN, half, counted, Answers()) == asked(PLAN, half, Answers(), counted) == beside


def test_a_mirrored_candidate_has_half_of_the_answers() -> None:
    """Each copied request is answered by both, whatever share of all is copied."""
    seen = {one.rule: one for one in evidence(PLAN, Step(mirror=10), Arm(200, 20, 200, 0), WELL)}
    assert seen["more-errors"].strength == label_above(20, 0, 0.5)


def test_the_burn_rate_is_that_of_the_plans_length() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    counts = [Counters(requests=100 * n, failures=50 * n) for n in range(73)]
    readings = [BurnReading(begin + timedelta(seconds=n), one) for n, one in enumerate(counts)]
    plan = PLAN.model_copy(update={"objective": 0.99, "steps": (Step(weight=100, step_s=60),), "bake_s": 12.0})
    [found] = [one for one in evidence(plan, plan.steps[0], WELL, None, readings) if one.rule == "burn"]
    assert found == burn(0.99, readings, 72) and found.strength > 0


def test_evidence_that_is_just_enough_fails() -> None:
    """A share of 1 of what is asked for."""
    plan = PLAN.model_copy(update={"steps": (Step(weight=100),)})
    seen = Arm(200, 12, 200, 0)
    asked = math.exp(-share_above(12, 200, 0.01)) / SHARES["errors"]
    just, less = (plan.model_copy(update={"alpha": asked * by}) for by in (1 + 1e-9, 1 - 1e-9))
    assert judge(just, plan.steps[0], seen, None, 10).verdict is StepVerdict.FAIL
    assert judge(less, plan.steps[0], seen, None, 10).verdict is StepVerdict.HOLD
