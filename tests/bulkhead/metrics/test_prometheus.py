"""Numbers of a revision from a real Prometheus."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.gpu_tasks.traffic import Traffic
from bulkhead.metrics.counters import Counters
from bulkhead.metrics.prometheus import PrometheusMetrics
from bulkhead.metrics.queries import DEFAULTS, filled
from bulkhead.settings import PrometheusQueries, PrometheusSource
from tests.fixtures.prometheus import Expose
from tests.ports import free_port
from tests.servers import serving
from tests.waiting import until


def _metrics(url: str, queries: PrometheusQueries | str = "bulkhead", **more: str) -> PrometheusMetrics:
    return PrometheusMetrics(PrometheusSource(url=url, queries=queries, **more), serving)


def _labelled(text: str, labels: str) -> str:
    """An exposition with labels, as Prometheus' discovery of pods adds them."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            name, _, own = name.partition("{")
            line = f"{name}{{{labels}{',' + own.rstrip('}') if own else ''}}} {value}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _pods(*traffic: Traffic) -> str:
    """What some pods of a revision and one of another expose."""
    labels = 'namespace="serving",pod="serve-digits-1-{}"'
    parts = [_labelled(one.exposition(), labels.format(index)) for index, one in enumerate(traffic)]
    other = Traffic()
    other.add(200, 1)
    parts.append(_labelled(other.exposition(), 'namespace="serving",pod="serve-digits-2-x"'))
    return "".join(line + "\n" for part in parts for line in part.splitlines() if not line.startswith("#"))


def test_what_our_own_server_counts_arrives_summed_over_its_pods(prometheus: str, expose: Expose) -> None:
    one, two = Traffic(), Traffic()
    for took_ms in (3, 30, 300):
        one.add(200, took_ms)
    two.add(500, 40)
    expose(_pods(one, two))
    metrics = _metrics(prometheus)
    until(lambda: metrics.counters("digits", ["digits-1"])["digits-1"].requests == 4, "all of them")
    seen = metrics.counters("digits", ["digits-1", "digits-2", "digits-3"])
    ours = seen["digits-1"]
    assert (ours.requests, ours.failures, ours.active) == (4, 1, 0)
    assert (ours.slow[5.0], ours.slow[50.0], ours.slow[500.0], ours.slow[inf]) == (1, 3, 4, 4)
    assert (seen["digits-2"].requests, seen["digits-2"].failures) == (1, 0)
    assert seen["digits-3"] == Counters()  # no series yet, no requests yet


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_every_default_is_promql(prometheus: str, name: str) -> None:
    assert _metrics(prometheus, name).counters("digits", ["none-1"]) == {"none-1": Counters()}


# A few series as each exporter's documentation has them: (exposition, (requests, failures, active, client errors)).
ISTIO = (
    'istio_requests_total{reporter="source",destination_service_namespace="serving",'
    'destination_service_name="serve-digits-1",response_code="%s"} %d\n'
)
MLSERVER = (
    'rest_server_requests_total{namespace="serving",pod="digits-1-predictor-a",app_name="mlserver",method="POST",'
    'path="%s",status_code="%s"} %d\n'
)
SERIES = {
    "istio": (
        "".join(ISTIO % one for one in (("200", 84), ("503", 9), ("0", 1), ("400", 4), ("429", 2))),
        (100, 12, 0, 4),
    ),
    "mlserver": (  # as MLServer 1.7.1 wrote it
        MLSERVER % ("/v2/models/{model_name}/infer", "200", 7)
        + MLSERVER % ("/v2/models/{model_name}/infer", "500", 3)
        + MLSERVER % ("/v2/models/{model_name}/ready", "200", 50)
        + 'rest_server_requests_in_progress{namespace="serving",pod="digits-1-predictor-a",method="POST"} 2\n',
        (10, 3, 2, 0),
    ),
    "vllm": (
        'http_requests_total{namespace="serving",pod="serve-digits-1-a",handler="/v1/completions",status="2xx"} 5\n'
        'http_requests_total{namespace="serving",pod="serve-digits-1-a",handler="/metrics",status="2xx"} 50\n'
        'http_requests_total{namespace="serving",pod="serve-digits-1-b",handler="/v1/completions",status="4xx"} 1\n'
        'http_requests_total{namespace="serving",pod="serve-digits-1-b",handler="/v1/completions",status="5xx"} 1\n'
        'vllm:num_requests_running{namespace="serving",pod="serve-digits-1-a"} 2\n'
        'vllm:num_requests_waiting{namespace="serving",pod="serve-digits-1-a"} 1\n'
        'http_requests_total{namespace="serving",pod="digits-1-0",handler="/v1/completions",status="2xx"} 4\n'
        'http_requests_total{namespace="serving",pod="compare-digits-1-a",handler="/v1/models",status="2xx"} 9\n',
        (11, 1, 3, 1),
    ),
    "triton": (
        'nv_inference_request_success{namespace="serving",pod="serve-digits-1-a",model="m",version="1"} 8\n'
        'nv_inference_pending_request_count{namespace="serving",pod="serve-digits-1-a",model="m"} 4\n',
        (8, 0, 4, 0),
    ),
}


@pytest.mark.parametrize("name", sorted(SERIES))
def test_every_default_reads_its_exporter(prometheus: str, expose: Expose, name: str) -> None:
    text, wanted = SERIES[name]
    expose(text)
    metrics = _metrics(prometheus, name)

    def seen() -> bool:
        found = metrics.counters("digits", ["digits-1"])["digits-1"]
        return (found.requests, found.failures, found.active, found.client_errors) == wanted

    until(seen, f"{wanted} of {name}")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("sum(", "answered 400"),
        ("vector(0) / vector(0)", "no number of requests"),
        ("vector(-1)", "no number of requests"),
        ("up[1m]", "no vector"),
    ],
)
def test_an_answer_that_is_no_number_says_nothing(prometheus: str, query: str, message: str) -> None:
    metrics = _metrics(prometheus, PrometheusQueries(requests=query, failures="vector(0)"))
    with pytest.raises(UnavailableError, match=message):
        metrics.counters("digits", ["digits-1"])


def test_a_server_that_is_away_says_nothing() -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        _metrics(f"http://127.0.0.1:{free_port()}").counters("digits", ["digits-1"])


def test_unknown_defaults_and_missing_tokens_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"prometheus\.queries = 'grafana': give PromQL, or one of bulkhead"):
        _metrics("http://127.0.0.1:1", "grafana")
    metrics = _metrics("http://127.0.0.1:1", token_variable="NO_SUCH_TOKEN")
    with pytest.raises(InvalidInputError, match="NO_SUCH_TOKEN"):
        metrics.counters("digits", ["digits-1"])


@given(st.text("{}abcnamespacerevision", max_size=40))
def test_only_names_are_filled_in(query: str) -> None:
    done = filled(query, {"revision": "R"})
    assert done == query.replace("{revision}", "R")


class Played(BaseHTTPRequestHandler):
    """Answers as a server of a test's. Attributes: answer (status and document)."""

    answer: ClassVar[tuple[int, Any]]

    def do_GET(self) -> None:
        status, document = self.answer
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def played() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Played)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _vector(*series: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": list(series)}, **more}


ONE = {"metric": {}, "value": [1.0, "5"]}
OWN = PrometheusQueries(requests="r", failures="f")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, _vector(ONE, warnings=["receive series from Addr: store-1: deadline exceeded"])), "in part: receive"),
        ((200, _vector(ONE, isPartial=True)), "in part: isPartial"),
        ((200, _vector({"metric": {}, "histogram": [1.0, {"count": "5"}]})), "with native histograms: take histogram_"),
        (
            (400, {"status": "error", "errorType": "bad_data", "error": "parse error: x"}),
            "answered 400: bad_data: parse",
        ),
        ((422, {"status": "error", "errorType": "execution", "error": "too many samples"}), "422: execution: too many"),
        ((503, b"\x00\x1f gzip"), "answered 503: \ufffd\ufffd gzip"),
        ((200, b"[" * 100_000), "something else than JSON"),
        ((200, []), "in another form than Prometheus"),
    ],
)
def test_what_is_no_whole_answer_is_none_and_the_server_says_why(played: str, answer: Any, message: str) -> None:
    Played.answer = answer
    with pytest.raises(UnavailableError, match=re.escape(message)):
        _metrics(played, OWN).counters("digits", ["digits-1"])


def test_remarks_about_a_query_do_not_matter(played: str) -> None:
    Played.answer = (200, _vector(ONE, infos=["PromQL info: metric might not be a counter"], isPartial=False))
    assert _metrics(played, OWN).counters("digits", ["digits-1"])["digits-1"] == Counters(5, 5)


def test_a_label_that_is_no_status_is_named(played: str) -> None:
    Played.answer = (200, _vector({**ONE, "metric": {"code": "OK"}}))
    message = "prometheus.queries.requests gives no HTTP status in the label 'code': {'code': 'OK'}"
    with pytest.raises(UnavailableError, match=re.escape(message)):
        _metrics(played, PrometheusQueries(requests="x", status_label="code")).counters("digits", ["digits-1"])


@pytest.mark.parametrize("queries", [{"requests": "x"}, {"requests": "x", "failures": "y", "status_label": "code"}])
def test_failures_are_told_in_one_way(queries: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="give failures, or the status_label of requests, and not both"):
        PrometheusQueries(**queries)


def test_pods_are_told_apart_where_the_query_does(played: str) -> None:
    Played.answer = (200, _vector({**ONE, "metric": {"pod": "a"}}, {**ONE, "metric": {"pod": "b"}}))
    seen = _metrics(played, OWN).counters("digits", ["digits-1"])["digits-1"]
    assert (seen.requests, dict(seen.parts)) == (10, {"pod=a": Counters(5, 5), "pod=b": Counters(5, 5)})
