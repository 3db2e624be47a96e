import json
from math import inf

import pytest
from pydantic import ValidationError

from bulkhead.metrics.counters import Answers, Counters, dump, load


@pytest.mark.parametrize(
    "counters",
    [
        Counters(),
        Counters(10, 2, {250.0: 7, inf: 10}),
        Counters(10, 2, {inf: 10}, answers=Answers(10, 1, {"7": 9}, 4, 3)),
        Counters(10, 2, {inf: 10}, answers=None),
        Counters(10, 2, {inf: 10}, by_pod={"a/1/0": Answers(10, 1, {"7": 9}), "b/2/1": Answers()}),
    ],
)
def test_counters_survive_the_ledger(counters: Counters) -> None:
    assert load(json.loads(json.dumps(dump(counters), allow_nan=False))) == counters


def test_what_an_earlier_version_wrote_is_read() -> None:
    assert load({"requests": 3, "failures": 1, "slow": [[250.0, 2], [inf, 3]]}).slow == {250.0: 2, inf: 3}


@pytest.mark.parametrize("data", [None, [], {"requests": -1}, {"requests": "many"}, {"slow": [[1]]}])
def test_another_form_is_refused(data: object) -> None:
    with pytest.raises(ValidationError):
        load(data)
