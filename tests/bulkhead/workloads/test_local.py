"""Servers as real pods."""

from pathlib import Path

import pytest

from bulkhead.errors import FencedError, UnavailableError, UnsupportedError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Revision
from bulkhead.metrics.http_json import read_counters
from bulkhead.pods.spec import PodRequest, build
from bulkhead.runtimes.local.runtime import LocalRuntime
from bulkhead.workloads.base import STATISTICS, Workload
from bulkhead.workloads.local import LocalWorkloads
from tests.local_pods import from_inside
from tests.rollouts import request, revision
from tests.servers import get, post
from tests.waiting import until

SERVER = Path(__file__).parents[2] / "programs" / "server.py"


def _answering(ledger: Ledger, runtime: LocalRuntime, body: str, service: str = "digits") -> Revision:
    serve = {"command": ["python", from_inside(runtime, SERVER), "{port}", "200", body], "env": {"A": "1"}}
    spec = revision("a", service, serve=serve)
    ledger.rollouts.request(spec.columns(), {"steps": [100]}, Request(service, "", "a test"), owner="o")
    return ledger.revisions.get(spec.id)


@pytest.fixture
def served(sqlite_url: str, runtime: LocalRuntime) -> Revision:
    return _answering(Ledger(sqlite_url), runtime, "")


@pytest.fixture
def workloads(runtime: LocalRuntime) -> LocalWorkloads:
    return LocalWorkloads(runtime, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}, {}, "tasks")


def _ready(workloads: LocalWorkloads, revision: Revision) -> int:
    def poll() -> int | None:
        workload = workloads.find(revision.id)
        return workload.port if workload and workload.status.ready else None

    return until(poll, "the server")


def test_a_revision_is_served_on_a_port_of_its_own(workloads: LocalWorkloads, served: Revision) -> None:
    assert workloads.find(served.id) is None
    workloads.launch(served, generation=1)
    assert get(_ready(workloads, served))[0] == 200


def test_launching_again_changes_nothing(workloads: LocalWorkloads, served: Revision) -> None:
    workloads.launch(served, generation=1)
    port = _ready(workloads, served)
    workloads.launch(served, generation=2)
    assert _ready(workloads, served) == port


def test_a_server_that_ended_is_restarted(workloads: LocalWorkloads, served: Revision, runtime: LocalRuntime) -> None:
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
    workloads.launch(ledger.revisions.get(rollout.revision_id), generation=1)
    command = launched[0].spec.containers[0].command
    assert command[:5] == ["python", "-m", "bulkhead.gpu_tasks.serve", "--model-uri", "models:/plain"]
    assert launched[0].spec.active_deadline_seconds is None


def test_a_pod_of_another_service_is_not_mistaken(
    workloads: LocalWorkloads, served: Revision, runtime: LocalRuntime
) -> None:
    runtime.launch(build(PodRequest(name="other", image="none", command=["true"])))
    assert workloads.find(served.id) is None


def test_who_compares_runs_beside_the_two_and_is_found_by_its_candidate(
    workloads: LocalWorkloads, runtime: LocalRuntime, sqlite_url: str
) -> None:
    ledger = Ledger(sqlite_url)
    candidate = _answering(ledger, runtime, "[1]", "one")
    stable = _answering(ledger, runtime, "[2]", "two")
    with pytest.raises(UnavailableError, match=f"{candidate.id} has no server"):
        workloads.launch_comparer("digits", candidate.id, stable.id, 3)
    for one in (candidate, stable):
        workloads.launch(one, 3)
        _ready(workloads, one)
    workloads.launch_comparer("digits", candidate.id, stable.id, 3)

    def ready() -> Workload | None:
        found = workloads.find_comparer(candidate.id)
        assert found is None or not found.status.ended, runtime.read_log(f"compare-{candidate.id}")
        return found if found and found.status.ready else None

    comparer = until(ready, "whoever compares")
    workloads.launch_comparer("digits", candidate.id, stable.id, 3)
    assert workloads.find_comparer(candidate.id) == comparer
    post(comparer.port, "/invocations", b"{}")
    until(lambda: read_counters(comparer.url(STATISTICS), "candidate")["candidate"].answers.compared, "a comparison")
    with pytest.raises(FencedError):
        workloads.stop_comparer(candidate.id, 2)
    workloads.stop_comparer(candidate.id, 3)
    workloads.stop_comparer(candidate.id, 3)
    assert workloads.find_comparer(candidate.id) is None


def test_on_one_machine_nobody_is_cut_off(workloads: LocalWorkloads, served: Revision) -> None:
    with pytest.raises(UnsupportedError, match="share its network"):
        workloads.deny_network(served.id)
