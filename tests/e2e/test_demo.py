"""``bulkhead demo --keep``, as a stranger runs it."""

import json
import re
import sqlite3
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest

from bulkhead.errors import UnavailableError
from tests.e2e.conftest import Kept

pytestmark = pytest.mark.e2e


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_every_expectation_held(kept: Kept) -> None:
    assert "every expectation held" in kept.output
    assert "expectation broken" not in kept.output


def test_the_last_line_is_for_programs(kept: Kept) -> None:
    document = kept.document
    assert document["metric"] == "demo"
    assert [release["result"] for release in document["releases"]] == ["promoted", "rolled_back", "rolled_back"]
    assert document["client_connection_errors"] == 0
    assert document["seconds"] > 0
    good, bad, hanging = document["releases"]
    assert good["failed"] == hanging["failed"] == 0
    assert 0 < bad["failed"] < bad["requests"] / 20
    assert re.search(r"\d+ of \d+ \(\d+\.\d%\) requests", bad["reason"])
    assert "deadline" in hanging["reason"]
    for one in (bad, hanging):
        assert 0 < one["detect_s"] < 60 and 0 < one["rollback_s"] < 10


def test_it_is_never_silent_for_more_than_ten_seconds(kept: Kept) -> None:
    lines = re.findall(r"^ *(\d+\.\d) s  (.*)", kept.output, re.MULTILINE)
    assert len(lines) > 20
    assert not [pair for pair in pairwise(lines) if float(pair[1][0]) - float(pair[0][0]) > 10]


def test_the_picture_is_there(kept: Kept) -> None:
    assert (kept.folder / "traffic.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_left_running_answers(kept: Kept) -> None:
    assert _status(kept.airflow.url) == 200
    body = json.dumps({"inputs": [[0.0] * 64]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{kept.control.settings.services['digits'].port}/invocations",
        body,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["predictions"][0] in range(10)


def test_nothing_is_open_without_a_login(kept: Kept) -> None:
    assert _status(f"{kept.airflow.url}/api/v2/dags") == 401
    assert _status(f"{kept.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1") == 401


def test_the_control_planes_api_is_for_whoever_is_logged_in(kept: Kept) -> None:
    api = "/bulkhead/api"
    for path in ("services", "releases", "dags/digits_release/releases?run_id=bad-release", "openapi.json"):
        assert _status(f"{kept.airflow.url}{api}/{path}") == 401, path
    (service,) = kept.airflow.call("GET", f"{api}/services")["items"]
    assert service["name"] == "digits" and service["attention"] == "rolled-back"
    (share,) = service["split"]
    assert (share["percent"], share["role"]) == (100, "stable")
    (release,) = kept.airflow.call("GET", f"{api}/dags/digits_release/releases?run_id=bad-release")["items"]
    assert "requests failed" in release["reason"] and release["contained_at"]
    whole = kept.airflow.call("GET", f"{api}/releases/{release['id']}")
    assert whole["evidence"]["model_uri"] == whole["candidate"]["model_uri"]
    assert whole["decision"]["numbers"]["candidate"]["failures"] > 0
    assert kept.airflow.call("GET", f"{api}/dags/digits_release/releases?run_id=nothing")["items"] == []


def test_no_secret_is_in_a_log_in_an_argument_or_in_an_xcom(kept: Kept) -> None:
    secret = kept.password.encode()
    logs = [
        *kept.folder.glob("logs/*.log"),
        *kept.folder.glob("home/pods/pods/*/*"),
        *kept.folder.glob("airflow/logs/**/*"),
    ]
    assert len(logs) > 10
    assert not [str(path) for path in logs if path.is_file() and secret in path.read_bytes()]
    assert not [entry for entry in Path("/proc").glob("[0-9]*/cmdline") if _holds(entry, secret)]
    with sqlite3.connect(kept.folder / "airflow" / "airflow.db") as connection:
        xcoms = connection.execute("SELECT value FROM xcom").fetchall()
    assert xcoms and not [value for (value,) in xcoms if kept.password in str(value)]


def test_a_param_out_of_range_is_refused_by_name_and_starts_nothing(kept: Kept) -> None:
    with pytest.raises(UnavailableError, match=r"answered 400 .*Invalid input for param epochs"):
        kept.airflow.trigger("digits_release", "wrong", {"epochs": 0})
    with pytest.raises(UnavailableError, match="answered 404"):
        kept.airflow.run("digits_release", "wrong")


def test_the_deploy_tasks_log_reads_as_prose_in_the_order_in_which_it_happened(kept: Kept) -> None:
    path = "/api/v2/dags/digits_release/dagRuns/bad-release/taskInstances/deploy/logs/1?full_content=true"
    lines = [line for line in kept.airflow.call("GET", path)["content"] if "timestamp" in line]
    message = [
        one for one in lines if re.match(r"Release of|Its |Step \d|Rolling back|All of the|Rolled back", one["event"])
    ]
    heads = [re.sub(r"^At \S+ UTC: ", "", one["event"]).split(" ")[0] for one in message]
    assert [heads[0], heads[-1]] == ["Release", "Rolled"] and {"Its", "Step", "Rolling", "All"} <= set(heads)
    assert not [one for one in message if "{" in one["event"] or "\n" in one["event"]]
    assert len({one["timestamp"] for one in message}) > 3  # not all at its end
    error = message[-1]
    assert error["level"] == "error" and not {"error_detail", "exception"} & set(error)
    assert re.search(r"requests failed, mostly 500 .* is back on revision .* Next: ", error["event"])
    assert not [one for one in lines if one.get("error_detail")]


def test_a_task_leads_to_its_run_its_model_and_its_endpoint(kept: Kept) -> None:
    tasks = "/api/v2/dags/digits_release/dagRuns/bad-release/taskInstances"
    deploy = kept.airflow.call("GET", f"{tasks}/deploy/links")["extra_links"]
    assert set(deploy) == {"MLflow run", "Model version", "Endpoint"}
    assert deploy["MLflow run"].startswith(f"{kept.mlflow_url}/#/experiments/")
    assert deploy["Model version"].startswith(f"{kept.mlflow_url}/#/models/digits/versions/")
    assert deploy["Endpoint"] == f"http://127.0.0.1:{kept.control.settings.services['digits'].port}"
    evaluate = kept.airflow.call("GET", f"{tasks}/evaluate/links")["extra_links"]
    assert evaluate["MLflow run"] == deploy["MLflow run"]
    assert "/models/m-" in evaluate["Model version"]


def test_one_trace_leads_from_the_dag_run_to_the_rollback(kept: Kept) -> None:
    spans = kept.collector.spans()
    (release,) = [
        span
        for span in spans
        if span.name == "release digits" and str(span.attributes["bulkhead.owner"]).endswith("/bad-release")
    ]
    assert release.service == "bulkhead-reconciler" and release.attributes["bulkhead.result"] == "rolled_back"
    trace = {span.span_id: span for span in spans if span.trace_id == release.trace_id}
    way = [release]
    while way[-1].parent_id in trace:
        way.append(trace[way[-1].parent_id])
    names = [span.name for span in way]
    assert names[1] == "request release of digits" and "worker.deploy" in names
    assert {"dag_run.digits_release", "phase analysing", "phase restoring", "step restoring"} <= {
        span.name for span in trace.values()
    }, sorted({span.name for span in trace.values()})


def test_status_tells_what_happened(kept: Kept) -> None:
    words = kept.cli("status").stdout
    assert "Rolled back: revision" in words and "█" in words and max(map(len, words.splitlines())) <= 100
    document = json.loads(kept.cli("status", "--json").stdout)
    (service,) = document["services"]
    assert service["traffic"] == {service["stable"]: 100}
    assert [rollout["phase"] for rollout in document["rollouts"]] == [
        "rolled_back",
        "rolled_back",
        "promoted",
        "promoted",
    ]


def _holds(entry: Path, secret: bytes) -> bool:
    try:
        return secret in entry.read_bytes()
    except OSError:  # it ended between the listing and the reading
        return False
