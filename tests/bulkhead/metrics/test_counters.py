import json
from math import inf

import pytest
from pydantic import ValidationError

from bulkhead.metrics.counters import FAILING, Answers, Counters, dump, fails, load, with_failures


@pytest.mark.parametrize(
    "counters",
    [
        Counters(),
        Counters(10, 2, {250.0: 7, inf: 10}),
        Counters(10, 2, {inf: 10}, answers=Answers(10, 1, {"7": 9}, 4, 3)),
        Counters(10, 2, {inf: 10}, answers=None),
        Counters(10, 2, {inf: 10}, answers=Answers(10, errors={"500 ValueError": 2})),
        with_failures(Counters(10, slow={inf: 10}, statuses={"200": 5, "400": 3, "503": 2})),
        Counters(10, 2, {inf: 10}, by_pod={"a/1/0": Answers(10, 1, {"7": 9}), "b/2/1": Answers()}),
    ],
)
def test_counters_survive_the_ledger(counters: Counters) -> None:
    assert load(json.loads(json.dumps(dump(counters), allow_nan=False))) == counters


@pytest.mark.parametrize(
    ("status", "failing"),
    [
        *[(status, True) for status in ("500", "503", "599", "5xx", "408", "429", "none")],
        *[(status, False) for status in ("200", "204", "304", "400", "404", "422", "499", "2xx", "4xx", "", "50")],
    ],
)
def test_what_is_the_servers_failure(status: str, failing: bool) -> None:
    assert fails(status, FAILING) is failing


def test_a_plan_may_call_more_a_failure() -> None:
    seen = Counters(10, statuses={"200": 4, "400": 3, "422": 2, "503": 1})
    message = [
        (one.failures, one.client_errors) for one in (with_failures(seen), with_failures(seen, (*FAILING, "422")))
    ]
    assert message == [(1, 5), (3, 3)]
    every = with_failures(Counters(parts={"a": seen}), (*FAILING, "4xx"))
    assert (every.parts["a"].failures, every.parts["a"].client_errors) == (6, 0)


def test_where_nobody_tells_statuses_the_sources_own_failures_count() -> None:
    assert with_failures(Counters(10, 3)) == Counters(10, 3)


def test_what_an_earlier_version_wrote_is_read() -> None:
    assert load({"requests": 3, "failures": 1, "slow": [[250.0, 2], [inf, 3]]}).slow == {250.0: 2, inf: 3}


@pytest.mark.parametrize("data", [None, [], {"requests": -1}, {"requests": "many"}, {"slow": [[1]]}])
def test_another_form_is_refused(data: object) -> None:
    with pytest.raises(ValidationError):
        load(data)
