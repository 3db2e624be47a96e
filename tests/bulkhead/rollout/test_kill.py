"""The reconciler, killed just before every single effect that it has, and run again: the end is always the same.

The world is real: the ledger, Envoy, MLflow's registry, servers as pods, clients that ask without a pause.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

from bulkhead.control import Control
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import Plan
from bulkhead.rollout.revision import RevisionSpec
from bulkhead.routers.envoy.process import start
from bulkhead.settings import ServicePorts, Settings
from tests.fixtures.runtime import end_pods
from tests.killing import Effects, run_in_fork
from tests.local_pods import from_inside
from tests.ports import free_port
from tests.rollouts import UNHURRIED

pytestmark = pytest.mark.faults

NIGHTLY = bool(os.environ.get("BULKHEAD_NIGHTLY"))
PROGRAMS = Path(__file__).parents[2] / "programs"
PLAN = Plan(steps=(50, 100), step_s=0.1, min_requests=3, drain_s=2, **UNHURRIED)


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


@dataclass
class Site:
    """A service in use.

    Attributes: control, model_uri (of every revision), other_uri (for one that is not isolated with them), clients,
    number of revisions so far, first and stride (of the effects of a run, which ones it is killed before).
    """

    control: Control
    model_uri: str
    other_uri: str
    clients: subprocess.Popen[str]
    revisions: int = 0
    first: int = 0
    stride: int = 1

    def ask(self, status: int, model_uri: str = "") -> Rollout:
        """Ask for a new revision, whose server answers with a status."""
        self.revisions += 1
        server = from_inside(self.control.runtime, PROGRAMS / "server.py")
        command = ["python", server, "{port}", str(status)]
        serve = {"command": command, "env": {"NUMBER": str(self.revisions)}}
        spec = RevisionSpec("digits", self.control.settings.home.name, model_uri or self.model_uri, "image", serve)
        key = f"k{self.revisions}"
        return self.control.commands.release(spec, PLAN, Request(key, "", "a test"), owner=key)

    def reconcile(self, effects: Effects | None = None) -> int:
        """Reconcile in another process until nothing is in progress; its exit code."""

        def job() -> None:
            control = Control(self.control.settings)
            if effects is not None:
                effects.watch(control.ledger.engine)
            reconciler, ledger = control.reconciler, control.ledger
            while reconciler.run_once() or reconciler.unsure or ledger.isolations.unapplied():
                time.sleep(0.1)  # the reconciler's own period, shortened
            if effects is not None:
                (control.settings.home / "effects.json").write_text(json.dumps(effects.seen))

        return run_in_fork(job)

    def effects(self) -> list[str]:
        """Those of the last run that counted them and came to its end."""
        return list(json.loads((self.control.settings.home / "effects.json").read_text()))

    def killed(self, index: int) -> bool:
        """Reconcile, and be killed just before an effect.

        How often a run looks, and commits what it saw, is the machine's affair: it may have fewer effects than another.

        Args:
            index: of the effect, from 0.

        Returns:
            Whether it was; False where it came to its end with no such effect.
        """
        code = self.reconcile(Effects(kill_at=index))
        if code == -signal.SIGKILL:
            return True
        assert code == 0
        assert len(self.effects()) <= index, f"it had an effect {index}, and lived"
        return False

    def state(self, rollout: Rollout) -> dict[str, Any]:
        """Everything that a rollout leaves, with its own revision called "new" and the stable one "old"."""
        control, now = self.control, self.control.ledger.rollouts.get(rollout.id)
        names = {now.revision_id: "new", now.stable_id: "old"}
        _, split = control.backends("digits").router.read("digits")
        versions = {control.ledger.revisions.get(name).model_version: names[name] for name in names if name}
        registry = control.reconciler._isolator.registry
        pods = control.runtime.list({"bulkhead.dev/service": "digits"})
        serving = [pod for pod in pods if not control.runtime.status(pod.name).ended]
        kinds = [event.kind for event in control.ledger.events.select(now.id)]
        return {
            "phase": now.phase,
            "stable": names[control.ledger.services.get("digits").stable_revision],
            "weights": {names[name]: share for name, share in split.weights.items()},
            "endpoints": sorted(names[name] for name in split.endpoints),
            "alias": versions[registry.champion(control.settings.home.name)],
            "serving": sorted(names[pod.labels["bulkhead.dev/revision"]] for pod in serving),
            "ends": [kind for kind in kinds if kind in ("promoted", "rolled_back")],
            "requested": kinds.count("requested"),
        }


# Which database, and which of how many shares of the effects: shares are tests of their own, and run side by side.
SHARES = [("sqlite", 0, 3), ("sqlite", 1, 3), ("sqlite", 2, 3), ("postgresql", 0, 1 if NIGHTLY else 6)]


@pytest.fixture(params=SHARES, ids=lambda share: f"{share[0]}-{share[1] + 1}-of-{share[2]}")
def site(tmp_path: Path, mlflow_uri: str, request: pytest.FixtureRequest) -> Iterator[Site]:
    database, first, stride = request.param
    ledger_url = request.getfixturevalue(f"{database}_url")
    ports = ServicePorts(port=free_port(), admin_port=free_port())
    places = {"home": tmp_path, "ledger_url": ledger_url, "mlflow_tracking_uri": mlflow_uri}
    control = Control(Settings(**places, services={"digits": ports}, lease_s=0.05))
    mlflow.set_tracking_uri(mlflow_uri)
    with mlflow.start_run():
        uris = [
            mlflow.pyfunc.log_model(name=name, python_model=Echo(), pip_requirements=[]).model_uri
            for name in ("model", "other")
        ]
    envoy = start(control.backends("digits").router, "digits", tmp_path / "envoy.log")
    clients = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "client.py"), str(ports.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    made = Site(control, *uris, clients, first=first, stride=stride)
    yield made
    for process in (clients, envoy):
        process.kill()
        process.wait()
    end_pods(control.runtime)


GOOD = {
    "phase": Phase.PROMOTED,
    "stable": "new",
    "weights": {"new": 100},
    "endpoints": ["new"],
    "alias": "new",
    "serving": ["new"],
    "ends": ["promoted"],
    "requested": 1,
}
BAD = {
    "phase": Phase.ROLLED_BACK,
    "stable": "old",
    "weights": {"old": 100},
    "endpoints": ["old"],
    "alias": "old",
    "serving": ["old"],
    "ends": ["rolled_back"],
    "requested": 1,
}


ISOLATED = {
    "levels": {"traffic": True, "pod": True, "model": True},
    "forbidden": True,
    "bundles": 1,
    "events": {"isolate": 1, "isolated": 3},
}


def _isolated(site: Site, revision_id: str) -> dict[str, Any]:
    """Everything that isolating a revision leaves, each of it once."""
    control, ledger = site.control, site.control.ledger
    levels = ledger.isolations.levels(revision_id)
    events = [
        event for event in ledger.events.select(service="digits") if (event.data or {}).get("revision") == revision_id
    ]
    since = max((index for index, one in enumerate(events) if one.kind == "unisolated"), default=-1)
    client = mlflow.MlflowClient(control.settings.mlflow_tracking_uri)
    version = ledger.revisions.get(revision_id).model_version
    tags = client.get_model_version(control.settings.home.name, version).tags
    experiment = client.get_experiment_by_name("bulkhead-evidence")
    bundles = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
    names = {f"{revision_id}-{isolation.id}" for isolation in levels}
    return {
        "levels": {str(isolation.level): isolation.applied_at is not None for isolation in levels},
        "forbidden": "bulkhead.isolated" in tags,
        "bundles": sum(run.info.run_name in names for run in bundles),
        "events": {kind: sum(event.kind == kind for event in events[since + 1 :]) for kind in ("isolate", "isolated")},
    }


def _isolate(site: Site, revision_id: str, name: str) -> None:
    request = Request(name, "it leaks", "a test")
    site.control.commands.isolate(
        revision_id, request, levels=(IsolationLevel.TRAFFIC, IsolationLevel.MODEL, IsolationLevel.POD), budgeted=False
    )


def _release(site: Site, revision_id: str, name: str) -> None:
    site.control.ledger.isolations.unisolate(revision_id, Request(f"release {name}", "again", "a test"))
    assert site.reconcile() == 0


def test_killed_before_any_effect_of_an_isolation_it_is_complete_in_the_end(site: Site) -> None:
    site.ask(200)
    assert site.reconcile() == 0
    revision = site.ask(500).revision_id
    assert site.reconcile() == 0  # which takes it back

    _isolate(site, revision, "undisturbed")
    assert site.reconcile(Effects()) == 0
    assert _isolated(site, revision) == ISOLATED
    effects = site.effects()
    assert sum(what.startswith("http POST") for what in effects) >= 3, effects
    index, killed = site.first, True
    while killed or index < len(effects):
        _release(site, revision, f"{index}")
        _isolate(site, revision, f"{index}")
        killed = site.killed(index)
        assert site.reconcile() == 0, f"after a kill before effect {index} of {effects}"
        assert _isolated(site, revision) == ISOLATED, f"after a kill before effect {index} of {effects}"
        index += site.stride


def test_killed_on_the_way_back_from_an_isolated_stable_revision_it_arrives(site: Site) -> None:
    base = site.ask(200, site.other_uri).revision_id
    assert site.reconcile() == 0

    def isolated_stable() -> str:
        revision = site.ask(200).revision_id
        assert site.reconcile() == 0
        _isolate(site, revision, revision)
        return revision

    def check(revision: str, when: str) -> None:
        assert site.reconcile() == 0, when
        assert _isolated(site, revision) == ISOLATED, when
        first = min(isolation.id for isolation in site.control.ledger.isolations.levels(revision))
        returns = [
            rollout for rollout in site.control.ledger.rollouts.latest("digits") if rollout.key == f"isolated/{first}"
        ]
        state = site.state(*returns)
        assert (state["phase"], state["stable"], state["weights"]) == (Phase.PROMOTED, "new", {"new": 100}), when
        assert (state["alias"], state["serving"], state["endpoints"]) == ("new", ["new"], ["new"]), when
        assert returns[0].revision_id == base
        # All revisions here serve one model, which is refused for as long as any of them is isolated.
        _release(site, revision, revision)

    undisturbed = isolated_stable()
    assert site.reconcile(Effects()) == 0
    check(undisturbed, "undisturbed")
    effects = site.effects()
    # Each effect of a return is one of a rollout's, which are all met above; here a few places of it will do.
    points = range(site.first, len(effects), site.stride * (1 if NIGHTLY else len(effects) // 9))
    for index in points:
        revision = isolated_stable()
        site.killed(index)
        check(revision, f"after a kill before effect {index}, {effects[index]}")


@pytest.mark.parametrize(("status", "end"), [(200, GOOD), (500, BAD)], ids=["promoted", "rolled back"])
def test_killed_before_any_effect_its_next_run_ends_in_the_same_state(
    site: Site, status: int, end: dict[str, Any]
) -> None:
    assert site.reconcile() == 0
    site.ask(200)
    assert site.reconcile() == 0  # the first revision
    undisturbed = site.ask(status)
    assert site.reconcile(Effects()) == 0
    assert site.state(undisturbed) == end
    effects = site.effects()
    assert {what.split(" ")[0] for what in effects} >= {"before", "after", "os.rename", "subprocess.Popen", "http"}

    index, killed = site.first, True
    while killed or index < len(effects):
        rollout = site.ask(status)
        killed = site.killed(index)
        assert site.reconcile() == 0, f"after a kill before effect {index} of {effects}"
        assert site.state(rollout) == end, f"after a kill before effect {index} of {effects}"
        index += site.stride

    out, _ = site.clients.communicate("", timeout=240)
    seen = json.loads(out)
    print(f"killed before {index} effects; clients saw {sum(seen.values())} answers")
    bad = {answer: n for answer, n in seen.items() if not answer.startswith("200") and not answer.endswith("None")}
    assert not [answer for answer in seen if answer.startswith("error")]
    stable = site.control.ledger.services.get("digits").stable_revision
    assert not [answer for answer in bad if status == 200 or answer.endswith(str(stable))], "a sound revision failed"
