from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.health.exposition import Blocks
from bulkhead.health.fleet import Fleet
from bulkhead.health.observation import Field, Snapshot
from bulkhead.health.policy import Policy
from bulkhead.health.sources.dcgm import DcgmSource, read, series
from bulkhead.health.verdict import Health

ONE = 'UUID="GPU-1",pci_bus_id="00000000:3B:00.0",modelName="H100",Hostname="n1"'
TEXT = f"""# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{{{ONE},namespace="ml",pod="train"}} 51
DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL{{{ONE},namespace="ml",pod="train"}} 2
DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL{{{ONE},namespace="ml",pod="train"}} 3
"""


def taken(text: str) -> Snapshot:
    snapshot = Snapshot("dcgm", 0.0)
    read(text, snapshot, Blocks(series))
    return snapshot


def test_reads_device_job_and_fields() -> None:
    reading = taken(TEXT).readings["GPU-1"]
    assert (reading.device.node, reading.device.model, reading.device.pci) == ("n1", "H100", "0000:3b:00")
    assert reading.job == "ml/train"
    assert reading.fields == {Field.TEMPERATURE: 51.0, Field.NVLINK_ERRORS: 5.0}


@pytest.mark.parametrize(
    ("labels", "job"),
    [
        ({"namespace": "ml", "pod": "train"}, "ml/train"),
        ({"pod_namespace": "ml", "pod_name": "train", "namespace": "gpu", "pod": "dcgm-exporter-x7"}, "ml/train"),
        (
            {"exported_namespace": "ml", "exported_pod": "train", "namespace": "gpu", "pod": "dcgm-exporter-x7"},
            "ml/train",
        ),
        ({"namespace": "gpu", "pod": "dcgm-exporter-x7"}, ""),
        ({"hpc_job": "4711"}, "4711"),
        ({"hpc_job": "4711", "pod": "", "exported_pod": ""}, "4711"),
        ({"hpc_job": "4711", "namespace": "gpu", "pod": "dcgm-exporter-x7"}, "4711"),
        ({}, ""),
    ],
)
def test_who_has_a_device_under_every_name_that_the_exporter_has_for_it(labels: dict[str, str], job: str) -> None:
    found = series({"UUID": "GPU-a", **labels})
    assert found is not None and found.job == job


@pytest.mark.parametrize("counter", ["DCGM_EXP_XID_ERRORS_COUNT", "DCGM_EXP_XID_ERRORS_TOTAL"])
def test_a_count_that_is_repeated_for_each_pod_and_instance_is_one(counter: str) -> None:
    shares = ('pod="a",namespace="ml"', 'pod="b",namespace="ml"', 'GPU_I_ID="1",GPU_I_PROFILE="1g.10gb"')
    counted = [f'{counter}{{{ONE},xid="94",{share}}} {times}' for share, times in zip(shares, (1, 2, 1), strict=True)]
    other = f'{counter}{{{ONE},xid="31",{shares[0]}}} 5'
    assert taken("\n".join([*counted, other])).readings["GPU-1"].xid_counts == {94: 2, 31: 5}


def test_a_total_that_grows_is_an_xid_of_now() -> None:
    fleet = Fleet(Policy())
    heat = f"DCGM_FI_DEV_GPU_TEMP{{{ONE}}} 50"
    for step, times in enumerate((1, 1, 2)):
        snapshot = Snapshot("dcgm", 1.8e9 + 15 * step)
        read(f'{heat}\nDCGM_EXP_XID_ERRORS_TOTAL{{{ONE},xid="48"}} {times}', snapshot, Blocks(series))
        snapshot.covers = snapshot.shown_nodes
        message = fleet.take([snapshot], snapshot.at).devices["GPU-1"]
        assert message.health is (
            Health.UNHEALTHY if times > 1 else Health.SUSPECT
        )  # one of unknown age at the first poll
    assert message.text.startswith("Xid 48")


def test_slices_are_under_their_gpu() -> None:
    lines = [
        f'DCGM_FI_DEV_{name}{{{ONE},GPU_I_PROFILE="1g.10gb",GPU_I_ID="{slot}"}} {value}'
        for name, slot, value in [("FB_USED", 1, 10), ("FB_USED", 2, 30), ("GPU_TEMP", 1, 50), ("GPU_TEMP", 2, 50)]
    ]
    reading = taken("\n".join(lines)).readings["GPU-1"]
    assert reading.fields[Field.TEMPERATURE] == 50
    assert reading.instances is not None
    assert {slot: fields[Field.MEMORY_USED] for slot, fields in reading.instances.items()} == {"1": 10, "2": 30}


@pytest.mark.parametrize("value", ["NaN", "-1", "+Inf", "2147483632", "9223372036854775794", "140737488355328"])
def test_what_stands_for_no_value_is_none(value: str) -> None:
    snapshot = taken(f"DCGM_FI_DEV_GPU_TEMP{{{ONE}}} {value}")
    assert snapshot.readings["GPU-1"].fields == {}
    assert snapshot.problems == {"no usable number": 1}


def test_a_series_twice_is_no_value() -> None:
    snapshot = taken(f"DCGM_FI_DEV_GPU_TEMP{{{ONE}}} 40\nDCGM_FI_DEV_GPU_TEMP{{{ONE}}} 99")
    assert snapshot.readings["GPU-1"].fields == {}
    assert snapshot.problems["a series twice"] == 1


def test_one_device_on_two_nodes_is_told() -> None:
    other = ONE.replace('"n1"', '"n2"')
    snapshot = taken(f"DCGM_FI_DEV_GPU_TEMP{{{ONE}}} 40\nDCGM_FI_DEV_GPU_TEMP{{{other}}} 99")
    assert snapshot.problems == {"a device on two nodes": 1}
    assert snapshot.readings["GPU-1"].fields == {Field.TEMPERATURE: 40.0}


class Exporter(BaseHTTPRequestHandler):
    body, status = TEXT.encode(), 200

    def do_GET(self) -> None:
        squeezed = "gzip" in self.headers.get("Accept-Encoding", "")
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(gzip.compress(self.body) if squeezed else self.body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()


def test_asks_an_exporter_and_reads_what_is_compressed(url: str) -> None:
    snapshot = DcgmSource(url).poll(5.0)
    assert (snapshot.failed, snapshot.at, set(snapshot.readings)) == (None, 5.0, {"GPU-1"})
    assert snapshot.covers == {"n1"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [(b"", 200, "tells of no device"), (b"x", 500, "answered 500"), (b"\x1f\x8bnonsense", 200, "")],
)
def test_an_exporter_that_says_nothing_has_failed(
    url: str, monkeypatch: pytest.MonkeyPatch, body: bytes, status: int, message: str
) -> None:
    monkeypatch.setattr(Exporter, "body", body)
    monkeypatch.setattr(Exporter, "status", status)
    snapshot = DcgmSource(url).poll(0.0)
    assert snapshot.failed is not None
    assert message in snapshot.failed


def test_nobody_there_has_failed() -> None:
    assert "does not answer" in (DcgmSource("http://127.0.0.1:9/metrics", timeout_s=0.2).poll(0.0).failed or "")


LINE = st.tuples(
    st.sampled_from(["DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_GPU_TEMP", "DCGM_EXP_XID_ERRORS_COUNT", "x", ""]),
    st.sampled_from(['{UUID="GPU-1",Hostname="n"}', '{UUID="GPU-1",xid="31"}', "{", "{}", '{UUID=""}', ""]),
    st.text(alphabet="0123456789.eE+-NaInf #{}", max_size=12),
).map(lambda parts: f"{parts[0]}{parts[1]} {parts[2]}")


@settings(max_examples=300)
@given(st.lists(st.lists(LINE | st.text(max_size=40), max_size=12), min_size=1, max_size=4))
def test_nonsense_never_raises_and_first_looks_never_quarantine(scrapes: list[list[str]]) -> None:
    fleet, blocks = Fleet(Policy()), Blocks(series)
    for index, lines in enumerate(scrapes):
        snapshot = Snapshot("dcgm", float(index))
        read("\n".join(lines), snapshot, blocks)
        assessment = fleet.take([snapshot], float(index))
        if index == 0:
            assert all(device.health is not Health.UNHEALTHY for device in assessment.devices.values())
