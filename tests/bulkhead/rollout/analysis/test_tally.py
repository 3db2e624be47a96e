"""Counters of pods that come, go and start again."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from bulkhead.metrics.counters import Counters, dump, load, total
from bulkhead.rollout.analysis.arms import arm
from bulkhead.rollout.analysis.tally import Tally


def _seen(**pods: tuple[int, int]) -> Counters:
    parts = {name: Counters(requests, failures, {inf: requests}) for name, (requests, failures) in pods.items()}
    of_all = total(parts.values())
    return Counters(of_all.requests, of_all.failures, of_all.slow, parts=parts)


def _window(*readings: Counters) -> tuple[int, int]:
    before, *later = readings
    tally, now = Tally(before), before
    for reading in later:
        now = tally.take(reading)
    found = arm(before, now, 250)
    assert found is not None
    return found.requests, found.failures


def test_a_pod_that_starts_again_hides_nothing() -> None:
    before = _seen(a=(1000, 0), b=(500, 0))
    crashing, begun = _seen(a=(2000, 0), b=(900, 300)), _seen(a=(3000, 0), b=(10, 0))
    assert _window(before, crashing, begun) == (2000 + 400 + 10, 300)
    assert _window(before, begun) == (2000 + 10, 0)  # what nobody saw cannot be known; what is left counts


def test_a_pod_that_goes_takes_nothing_with_it_and_one_that_comes_brings_what_it_counted() -> None:
    before = _seen(a=(1000, 0), b=(500, 0))
    assert _window(before, _seen(a=(1100, 1), b=(600, 2)), _seen(a=(1200, 1))) == (300, 3)
    assert _window(before, _seen(a=(1100, 1), c=(50, 5))) == (150, 6)


def test_a_pod_that_was_not_scraped_once_is_not_counted_twice() -> None:
    before = _seen(a=(1000, 0), b=(500, 0))
    readings = _seen(a=(1100, 0), b=(600, 9)), _seen(a=(1200, 0)), _seen(a=(1300, 0), b=(700, 9))
    assert _window(before, *readings) == (300 + 200, 9)


def test_statuses_and_client_errors_are_counted_pod_by_pod() -> None:
    def seen(**pods: Counters) -> Counters:
        of_all = total(pods.values())
        return Counters(of_all.requests, statuses=of_all.statuses, client_errors=of_all.client_errors, parts=pods)

    before = seen(a=Counters(10, statuses={"200": 9, "404": 1}, client_errors=1))
    tally = Tally(before)
    tally.take(seen(a=Counters(20, statuses={"200": 17, "404": 3}, client_errors=3)))
    found = arm(before, tally.take(seen(a=Counters(5, statuses={"200": 1, "404": 4}, client_errors=4))), 250)
    assert found is not None and (found.client_errors, found.statuses) == (2 + 4, {"200": 8 + 1, "404": 2 + 4})


def test_without_pods_a_counter_that_fell_says_nothing() -> None:
    assert arm(Counters(100, 1), Tally(Counters(100, 1)).take(Counters(50, 0)), 250) is None


def test_it_survives_the_ledger() -> None:
    seen = _seen(a=(1000, 3), b=(500, 0))
    assert load(dump(seen)) == seen


_POLLS = st.lists(st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(0, 9), st.integers(0, 9))), max_size=6)


@given(polls=_POLLS, gone=st.lists(st.sets(st.sampled_from("abc")), min_size=6, max_size=6))
def test_where_each_life_is_seen_at_its_end_every_request_counts_once(
    polls: list[dict[str, tuple[int, int]]], gone: list[set[str]]
) -> None:
    """Pods answer, and end or start again after a poll: whatever they did before it is in the window."""
    counts, lives = {"a-0": (100, 10)}, dict.fromkeys("abc", 0)
    readings, good, bad = [_seen(**counts)], 0, 0
    for poll, ended in zip(polls, gone, strict=False):
        for pod, (well, failed) in poll.items():
            name = f"{pod}-{lives[pod]}"
            requests, failures = counts.get(name, (0, 0))
            counts[name] = (requests + well + failed, failures + failed)
            good, bad = good + well + failed, bad + failed
        readings.append(_seen(**counts))
        for pod in ended:
            counts.pop(f"{pod}-{lives[pod]}", None)
            lives[pod] += 1
    assert _window(*readings) == (good, bad)
