from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.ledger.tables import Event, Phase, Rollout
from bulkhead.rollout.plan import Plan
from bulkhead.rollout.sentences import end, sentence
from tests.hostile import NASTY

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
NUMBERS = {
    "candidate": {"requests": 212, "failures": 63, "timed": 212, "slow": 0, "p99_ms": [10.0, 25.0]},
    "stable": {"requests": 1904, "failures": 0, "timed": 1904, "slow": 1, "p99_ms": [5000.0, "inf"]},
    "window_s": 10.2,
    "evidence": {"errors": 1.84, "latency": 0.0},
}


def _rollout(**columns: Any) -> Rollout:
    known: dict[str, Any] = {
        "id": 7,
        "service": "digits",
        "owner": "airflow:release/run",
        "revision_id": "digits-b",
        "stable_id": "digits-a",
        "phase": Phase.ANALYSING,
        "step": 0,
        "plan": {"steps": [10, {"weight": 50, "approve": True}, 100], "min_requests": 50, "step_s": 10},
        "phase_at": NOON,
    }
    return Rollout(**{**known, **columns})


def _said(kind: str, data: dict[str, Any] | None = None, **columns: Any) -> str | None:
    return sentence(Event(id=1, at=NOON, service="digits", rollout_id=7, kind=kind, data=data), _rollout(**columns))


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (
            "requested",
            {"by": "airflow:release/run/deploy", "revision": "digits-b"},
            "Release of revision digits-b to service digits, asked for by airflow:release/run/deploy; "
            "revision digits-a serves.",
        ),
        ("registered", {"after": "requested"}, "Its model is registered."),
        ("launched", {"after": "registered"}, "Its server is starting."),
        ("shifting", {"after": "launched", "step": 0}, "Its server is ready."),
        (
            "shifting",
            {"after": "launched", "nodes": ["gpu-1"], "devices": ["GPU-1", "GPU-2"]},
            "Its server is ready, on gpu-1, GPU-1, GPU-2.",
        ),
        (
            "shifting",
            {"after": "launched", "nodes": [f"gpu-{number}" for number in range(9)], "devices": []},
            "Its server is ready, on gpu-0, gpu-1, gpu-2 and 6 more.",
        ),
        ("shifting", {"after": "analysing", "step": 1}, None),
        (
            "analysing",
            {"after": "shifting", "step": 0, "weight": 10},
            "Step 1 of 3: 10 % of the traffic goes to it. It has to answer at least 50 requests in at least 10 s.",
        ),
        (
            "passed",
            {
                "index": 0,
                "rule": "within-limits",
                "reason": "0 of 212 (0.0%) failed, 0 of 212 (0.0%) slow",
                "numbers": NUMBERS,
            },
            "Step 1 of 3 passed: 0 of 212 (0.0%) failed, 0 of 212 (0.0%) slow. The verdict rests on 212 requests "
            "(63 failed, 0 slow, p99 at most 25 ms) of the candidate and 1904 requests (0 failed, 1 slow, p99 over "
            "5000 ms) of stable in 10.2 s.",
        ),
        (
            "passed",
            {"index": 1, "rule": "min-requests", "reason": "3 of at least 50 requests so far", "numbers": {}},
            "Step 2 of 3 goes on without enough evidence, as the plan's 'on_insufficient_data: promote' has it: "
            "3 of at least 50 requests so far.",
        ),
        (
            "passed",
            {"index": 2, "rule": "not-judged", "reason": "the plan asks for no judgement", "numbers": {}},
            "Step 3 of 3 is not judged: the plan asks for no judgement.",
        ),
        (
            "rollback",
            {"index": 0, "rule": "errors", "reason": "at 10 % of the traffic 63 of 212 failed", "numbers": NUMBERS},
            "Rolling back from step 1 of 3: at 10 % of the traffic 63 of 212 failed. The verdict rests on 212 requests "
            "(63 failed, 0 slow, p99 at most 25 ms) of the candidate and 1904 requests (0 failed, 1 slow, p99 over "
            "5000 ms) of stable in 10.2 s, where rule errors has 1.8 times the evidence that it needs.",
        ),
        ("rollback", {"reason": "I saw it.", "by": "cli: ada"}, "Rolling back, asked for by cli: ada: I saw it."),
        (
            "approving",
            {"step": 1},
            "Step 2 of 3 waits for a person: 'bulkhead approve digits', or Airflow's web UI where its DAG asks.",
        ),
        ("approved", {"step": 1, "by": "ada", "reason": "fine"}, "Step 2 of 3 was approved by ada: fine."),
        (
            "skipping",
            {"step": 0, "by": "ada", "reason": "it is urgent"},
            "Step 1 of 3: ada has it go to the last step at once: it is urgent.",
        ),
        ("waiting", {"phase": "analysing", "for": "hold: min-requests", "why": "0 of at least 50"}, None),
        (
            "waiting",
            {"phase": "analysing", "for": "hold: min-requests", "why": "9 of at least 50", "still": True},
            "Step 1 of 3 still waits: the candidate has not answered enough requests yet (9 of at least 50).",
        ),
        (
            "waiting",
            {"phase": "analysing", "index": 1, "for": "hold: errors-unclear", "why": "2 of 60 failed"},
            "Step 2 of 3 waits: 2 of 60 failed.",
        ),
        ("waiting", {"phase": "approving", "for": "a person to approve: bulkhead approve digits"}, None),
        ("waiting", {"phase": "shifting", "for": "Envoy is away"}, "It waits: Envoy is away."),
        (
            "drift",
            {"why": "10 % was 20 %"},
            "Another writer has changed the traffic or what serves: 10 % was 20 %; written back.",
        ),
        ("repair", {"why": "its server ended", "generation": 9}, "What serves is repaired: its server ended."),
        ("promoting", {"step": 2}, "The model's alias 'champion' moves to it."),
        ("baking", {"step": 2}, None),
        (
            "retiring",
            {"step": 2},
            "Revision digits-b is the stable one now; revision digits-a answers its last requests, and is stopped.",
        ),
        ("unaliasing", {"step": 0}, "The traffic is on its way back to revision digits-a."),
        ("draining", {}, "The server of revision digits-b answers its last requests, and is stopped."),
        ("promoted", {}, None),
        ("rolled_back", {}, None),
        ("of a newer version", {"x": 1}, "of a newer version"),
    ],
)
def test_an_event_is_one_sentence(kind: str, data: dict[str, Any], words: str | None) -> None:
    assert _said(kind, data) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "Step 1 of 4: it answers copies of 20 % of the requests, unseen by clients."),
        (1, "Step 2 of 4: requests with x-preview: 1 go to it."),
        (2, "Step 3 of 4: 50 % of the traffic goes to it."),
    ],
)
def test_what_a_step_shows(number: int, words: str) -> None:
    steps = [{"mirror": 20}, {"headers": {"x-preview": "1"}}, 50, 100]
    assert _said("analysing", {"step": number}, plan={"steps": steps, "judged": False}) == words


def test_the_bake_is_told_where_there_is_one() -> None:
    assert _said("baking", {}, plan={"bake_s": 60}) == (
        "It has all of the traffic, and is judged for 60 s more; revision digits-a stays ready to take over."
    )


def test_a_plan_that_cannot_be_read_leaves_the_rest_of_the_sentence() -> None:
    said = _said("analysing", {"step": 1, "weight": 50}, plan={"steps": 7})
    assert said == "Step 2: 50 % of the traffic goes to it."


def test_a_promotion_says_how_to_go_back() -> None:
    assert end(_rollout(phase=Phase.PROMOTED)) == (
        "Promoted: revision digits-b serves all of the traffic of service digits. "
        "'bulkhead rollback digits' returns to digits-a."
    )


def test_a_rollback_says_why_what_serves_and_what_is_next() -> None:
    ended = _rollout(
        phase=Phase.ROLLED_BACK,
        reason="at 10 % of the traffic 63 of 212 (29.7%) requests failed, limit 1.0%",
        decision={"rule": "errors"},
        decided_at=NOON,
        contained_at=NOON + timedelta(seconds=0.42),
    )
    assert end(ended) == (
        "Rolled back: revision digits-b of service digits: at 10 % of the traffic 63 of 212 (29.7%) requests failed, "
        "limit 1.0%. All of the traffic is back on revision digits-a, 0.4 s after the decision. "
        "Next: mend the model, and release the new one."
    )


@pytest.mark.parametrize(
    ("decision", "remedy"),
    [
        ({"rule": "not-serving"}, "read the log of its server"),
        ({"rule": "device"}, "the unhealthy device is avoided"),
        ({"rule": "approval"}, "'bulkhead approve digits'"),
        ({"rule": "isolated"}, "'bulkhead unisolate digits-b'"),
        ({"rule": "drift"}, "mend the model"),
        ({"by": "cli: ada"}, "once its reason is gone"),
        (None, "once its reason is gone"),
    ],
)
def test_what_can_be_done_follows_from_the_rule(decision: dict[str, Any] | None, remedy: str) -> None:
    assert remedy in end(_rollout(phase=Phase.ROLLED_BACK, reason="why", decision=decision))


def test_where_nothing_served_before_nothing_serves_after_a_rollback() -> None:
    assert "No revision serves digits now" in end(_rollout(phase=Phase.ROLLED_BACK, reason="why", stable_id=None))


@pytest.mark.parametrize("text", NASTY)
def test_whatever_was_said_is_one_line(text: str) -> None:
    message = [
        _said("waiting", {"for": text}),
        _said("rollback", {"reason": text, "by": text}),
        _said("approved", {"by": text, "reason": text}),
        _said("skipping", {"by": text, "reason": text}),
        end(_rollout(phase=Phase.ROLLED_BACK, reason=text)),
    ]
    assert all(one is not None and len(one.splitlines()) <= 1 for one in message)


@given(
    kind=st.sampled_from(["passed", "rollback", "waiting", "approved", "skipping", "analysing", "drift", *Phase]),
    data=st.dictionaries(
        st.sampled_from(["index", "step", "weight", "reason", "by", "for", "why", "still", "rule"]),
        st.none() | st.booleans() | st.integers(-1, 9) | st.text(max_size=8),
    ),
    step=st.integers(0, len(Plan().steps)),
)
def test_no_event_of_any_version_is_an_error(kind: str, data: dict[str, Any], step: int) -> None:
    said = _said(kind, data, step=step)
    assert said is None or len(said.splitlines()) <= 1
