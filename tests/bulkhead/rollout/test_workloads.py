"""Servers as real pods."""

from pathlib import Path

import pytest

from bulkhead.errors import FencedError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Revision
from bulkhead.metrics.http_json import read_counters
from bulkhead.pods.spec import PodRequest, build
from bulkhead.rollout.workloads import STATISTICS, LocalWorkloads, Workload
from bulkhead.runtimes.local.runtime import LocalRuntime
from tests.local_pods import from_inside
from tests.rollouts import request, revision
from tests.servers import Backend, get, post
from tests.waiting import until

SERVER = Path(__file__).parents[2] / "programs" / "server.py"


@pytest.fixture
def served(sqlite_url: str, runtime: LocalRuntime) -> Revision:
    ledger = Ledger(sqlite_url)
    serve = {"command": ["python", from_inside(runtime, SERVER), "{port}", "200"], "env": {"A": "1"}}
    spec = revision("a", serve=serve)
    ledger.request_rollout(spec.columns(), {"steps": [100]}, key="k", owner="o", requested_by="a test")
    return ledger.revision(spec.id)


@pytest.fixture
def workloads(runtime: LocalRuntime) -> LocalWorkloads:
    return LocalWorkloads(runtime, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}, {})


def _ready(workloads: LocalWorkloads, revision: Revision) -> int:
    def look() -> int | None:
        workload = workloads.find(revision.id)
        return workload.port if workload and workload.status.ready else None

    return until(look, "the server")


def test_a_revision_is_served_on_a_port_of_its_own(workloads: LocalWorkloads, served: Revision) -> None:
    assert workloads.find(served.id) is None
    workloads.launch(served, generation=1)
    assert get(_ready(workloads, served))[0] == 200


def test_launching_again_changes_nothing(workloads: LocalWorkloads, served: Revision) -> None:
    workloads.launch(served, generation=1)
    port = _ready(workloads, served)
    workloads.launch(served, generation=2)
    assert _ready(workloads, served) == port


def test_a_server_that_ended_is_started_anew(
    workloads: LocalWorkloads, served: Revision, runtime: LocalRuntime
) -> None:
    workloads.launch(served, generation=1)
    _ready(workloads, served)
    runtime.terminate(f"serve-{served.id}", reason="a fault", grace_s=0)
    workloads.launch(served, generation=2)
    assert get(_ready(workloads, served))[0] == 200


def test_a_server_whose_launcher_died_before_it_ran_is_seen_through(
    workloads: LocalWorkloads, served: Revision, runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(LocalRuntime, "_supervise", lambda *_: None)
        workloads.launch(served, generation=1)
    workload = workloads.find(served.id)
    assert workload is not None and not workload.status.ended
    workloads.launch(served, generation=1)
    assert get(_ready(workloads, served))[0] == 200


def test_an_older_generation_cannot_stop_it(workloads: LocalWorkloads, served: Revision) -> None:
    workloads.launch(served, generation=3)
    with pytest.raises(FencedError):
        workloads.stop(served.id, generation=2)
    workloads.stop(served.id, generation=3)
    workloads.stop(served.id, generation=3)
    assert workloads.find(served.id) is None


def test_without_a_command_it_is_mlflows_scoring_server(
    workloads: LocalWorkloads, sqlite_url: str, runtime: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = []
    monkeypatch.setattr(runtime, "launch", launched.append)
    ledger = Ledger(sqlite_url)
    rollout = request(ledger, "plain")
    workloads.launch(ledger.revision(rollout.revision_id), generation=1)
    command = launched[0].spec.containers[0].command
    assert command[:5] == ["python", "-m", "gpu_tasks.serve", "--model-uri", "models:/plain"]
    assert launched[0].spec.active_deadline_seconds is None


def test_a_pod_of_another_service_is_not_mistaken(
    workloads: LocalWorkloads, served: Revision, runtime: LocalRuntime
) -> None:
    runtime.launch(build(PodRequest(name="other", image="none", command=["true"])))
    assert workloads.find(served.id) is None


def test_who_compares_runs_beside_the_two_and_is_found_by_its_candidate(
    workloads: LocalWorkloads, runtime: LocalRuntime
) -> None:
    candidate, stable = Backend('{"predictions": [1]}'), Backend('{"predictions": [2]}')
    workloads.launch_comparer("digits-1", "digits", candidate.port, stable.port, 3)

    def ready() -> Workload | None:
        found = workloads.find_comparer("digits-1")
        assert found is None or not found.status.ended, runtime.read_log("compare-digits-1")
        return found if found and found.status.ready else None

    comparer = until(ready, "whoever compares", 30)
    assert workloads.find("digits-1") is None
    workloads.launch_comparer("digits-1", "digits", candidate.port, stable.port, 3)
    assert workloads.find_comparer("digits-1") == comparer
    post(comparer.port, "/invocations", b"{}")
    until(lambda: read_counters(comparer.url(STATISTICS), "candidate")["candidate"].answers.compared, "a comparison")
    with pytest.raises(FencedError):
        workloads.stop_comparer("digits-1", 2)
    workloads.stop_comparer("digits-1", 3)
    workloads.stop_comparer("digits-1", 3)
    assert workloads.find_comparer("digits-1") is None
    candidate.stop()
    stable.stop()
