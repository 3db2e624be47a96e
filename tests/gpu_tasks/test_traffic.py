"""Requests counted, as JSON and as Prometheus reads them."""

from math import inf

from bulkhead.gpu_tasks.traffic import NO_ANSWER, Traffic
from bulkhead.metrics.counters import load
from bulkhead.rollout.analysis.tally import Tally


def _some() -> Traffic:
    traffic = Traffic()
    for status, took_ms in ((200, 0.2), (201, 60), (404, 70), (500, 40000), (NO_ANSWER, 1)):
        traffic.add(status, took_ms)
    return traffic


def test_failures_and_clients_mistakes_are_told_by_their_status() -> None:
    seen = load(_some().document())
    assert (seen.requests, seen.failures, seen.client_errors) == (5, 2, 1)
    assert seen.statuses == {"200": 1, "201": 1, "404": 1, "500": 1, "none": 1}
    assert (seen.slow[0.5], seen.slow[100.0], seen.slow[30000.0], seen.slow[inf]) == (1, 4, 4, 5)


def test_the_exposition_has_the_same() -> None:
    """That Prometheus reads it is shown by ``tests/bulkhead/metrics/test_prometheus.py``."""
    lines = _some().exposition().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    for code, count in (("none", "1"), ("200", "1"), ("201", "1"), ("404", "1"), ("500", "1")):
        assert samples[f'bulkhead_requests_total{{code="{code}"}}'] == count
    for bound, count in (("0.0005", "1"), ("0.1", "4"), ("30", "4"), ("+Inf", "5")):
        assert samples[f'bulkhead_request_duration_seconds_bucket{{le="{bound}"}}'] == count
    assert samples["bulkhead_request_duration_seconds_sum"] == "40.1312"
    assert samples["bulkhead_request_duration_seconds_count"] == "5"


def test_a_server_that_was_restarted_hides_nothing() -> None:
    before, again = load(_some().document()), load(_some().document())
    tally = Tally(before)
    assert tally.take(before).failures == 2
    assert tally.take(again).failures == 4  # another life, whose counts have all come since


def test_nothing_counted_is_nothing_failed() -> None:
    assert load(Traffic().document()).requests == 0
    assert 'code="200"} 0' in Traffic().exposition()
