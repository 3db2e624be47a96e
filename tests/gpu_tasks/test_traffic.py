"""Requests counted, as JSON and as Prometheus reads them."""

from math import inf

from bulkhead.metrics.counters import load
from gpu_tasks.traffic import NO_ANSWER, Traffic


def _some() -> Traffic:
    traffic = Traffic()
    for status, took_ms in ((200, 0.2), (201, 60), (404, 70), (500, 40000), (NO_ANSWER, 1)):
        traffic.add(status, took_ms)
    return traffic


def test_whatever_has_no_2xx_answer_is_a_failure() -> None:
    seen = load(_some().document())
    assert (seen.requests, seen.failures) == (5, 3)
    assert (seen.slow[0.5], seen.slow[100.0], seen.slow[30000.0], seen.slow[inf]) == (1, 4, 4, 5)


def test_the_exposition_has_the_same() -> None:
    """That Prometheus reads it is shown by ``tests/bulkhead/metrics/test_prometheus.py``."""
    lines = _some().exposition().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    for code, count in (("0xx", "1"), ("2xx", "2"), ("4xx", "1"), ("5xx", "1")):
        assert samples[f'bulkhead_requests_total{{code="{code}"}}'] == count
    for bound, count in (("0.0005", "1"), ("0.1", "4"), ("30", "4"), ("+Inf", "5")):
        assert samples[f'bulkhead_request_duration_seconds_bucket{{le="{bound}"}}'] == count
    assert samples["bulkhead_request_duration_seconds_sum"] == "40.1312"
    assert samples["bulkhead_request_duration_seconds_count"] == "5"


def test_nothing_counted_is_nothing_failed() -> None:
    assert load(Traffic().document()).requests == 0
    assert 'code="2xx"} 0' in Traffic().exposition()
