import math

import pytest

from bulkhead.errors import UnavailableError
from bulkhead.routers.envoy import admin
from tests.ports import free_port

EXPOSITION = """\
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="new"} 90
envoy_cluster_upstream_rq{envoy_response_code="400",envoy_cluster_name="new"} 3
envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="new"} 7
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="new",le="250"} 60
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="new",le="+Inf"} 99
envoy_cluster_upstream_rq_active{envoy_cluster_name="new"} 2
envoy_cluster_upstream_rq_active{envoy_cluster_name="old"} 0
"""


def test_counters_by_revision() -> None:
    found = admin.parse_counters(EXPOSITION)
    assert (found["new"].requests, found["new"].failures, found["new"].active) == (100, 7, 2)
    assert (found["new"].client_errors, found["new"].statuses) == (3, {"200": 90, "400": 3, "503": 7})
    assert found["new"].slow == {250.0: 60, math.inf: 99}
    assert (found["old"].requests, found["old"].slow) == (0, {})


def test_nothing_is_nothing() -> None:
    assert admin.parse_counters("") == {}


def test_an_envoy_that_is_not_there_is_said() -> None:
    with pytest.raises(UnavailableError, match="is Envoy running"):
        admin.get(free_port(), "/ready")
