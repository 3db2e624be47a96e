"""Against a real Prometheus server."""

from __future__ import annotations

import time

from bulkhead.health.observation import Field
from bulkhead.health.sources.prometheus import DevicePrometheusSource
from tests.fixtures.prometheus import Expose

ONE = 'gpu="0",UUID="GPU-p1",pci_bus_id="00000000:3B:00.0",modelName="H100",Hostname="n1",cluster="a"'
TWO = 'gpu="1",UUID="GPU-p2",pci_bus_id="00000000:4B:00.0",modelName="H100",Hostname="n2",cluster="b"'
TEXT = f"""# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{{{ONE}}} 51
DCGM_FI_DEV_GPU_TEMP{{{TWO}}} 52
# TYPE DCGM_EXP_XID_ERRORS_COUNT gauge
DCGM_EXP_XID_ERRORS_COUNT{{{ONE},xid="31",window_size_in_ms="300000"}} 2
"""


def test_reads_what_prometheus_has_scraped_with_the_time_of_the_scrape(prometheus: str, expose: Expose) -> None:
    expose(TEXT)
    now = time.time()
    snapshot = DevicePrometheusSource(prometheus).poll(now)
    assert snapshot.failed is None
    reading = snapshot.readings["GPU-p1"]
    assert (reading.device.node, reading.device.model, reading.fields) == ("n1", "H100", {Field.TEMPERATURE: 51.0})
    assert reading.xid_counts == {31: 2.0}
    assert now - 5 < reading.at <= now
    assert snapshot.covers == {"n1", "n2"}


def test_asks_only_for_what_is_selected(prometheus: str, expose: Expose) -> None:
    expose(TEXT)
    assert DevicePrometheusSource(prometheus, selector='cluster="b"').poll(time.time()).readings.keys() == {"GPU-p2"}


def test_what_is_not_scraped_any_more_is_as_old_as_its_last_scrape(prometheus: str, expose: Expose) -> None:
    expose(TEXT)
    later = time.time() + 120
    snapshot = DevicePrometheusSource(prometheus).poll(later)
    assert later - snapshot.readings["GPU-p1"].at > 100


def test_a_server_without_devices_has_failed(prometheus: str) -> None:
    snapshot = DevicePrometheusSource(prometheus, selector='cluster="none"').poll(time.time())
    assert "has no metrics of any device" in (snapshot.failed or "")


def test_a_server_that_is_not_there_has_failed() -> None:
    assert "does not answer" in (DevicePrometheusSource("http://127.0.0.1:9").poll(0.0).failed or "")
