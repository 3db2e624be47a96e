"""Whole rollouts by the reconciler in a real cluster: Deployments, an HTTPRoute, pods that serve.

The test plays the Gateway's controller and whoever counts; the registry is in memory.
"""

from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client as k8s

from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.leases import Leases
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.pods.serving_names import server_name
from bulkhead.rollout.backend import ServingBackend
from bulkhead.rollout.devices import Devices
from bulkhead.rollout.plan import RETURN, Plan
from bulkhead.rollout.reconciler import Reconciler
from bulkhead.routers.gateway_api import GatewayRouter
from bulkhead.runtimes.kubernetes.objects import DEPLOYMENT, NETWORK_POLICY, Objects
from bulkhead.settings import FleetSettings
from bulkhead.workloads.kubernetes import KubernetesWorkloads
from tests.fixtures.cluster import IMAGE, answering, default_account
from tests.rollouts import revision
from tests.waiting import until
from tests.worlds import MemoryRegistry, MemoryRouter

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("gateway_api", "gateway_controller", "running_nodes"),
]

PLAN = Plan(steps=(10, 100), step_s=0, min_requests=20, drain_s=1)


class Stage:
    """A service in a cluster. Attributes: ledger, backend, counts (who counts), registry, reconciler."""

    def __init__(self, url: str, objects: Objects, router: GatewayRouter) -> None:
        self.ledger, self.objects, self.counts, self.registry = Ledger(url), objects, MemoryRouter(), MemoryRegistry()
        self.backend = ServingBackend(
            router, KubernetesWorkloads(objects.api, objects.namespace, {}, {}, IMAGE), self.counts
        )
        self.reconciler = self.another()

    def another(self, lease_s: float = 5) -> Reconciler:
        devices = Devices(self.ledger.quarantines, self.ledger.fleet, FleetSettings())
        leases = Leases(self.ledger.engine, lease_s)
        return Reconciler(self.ledger, lambda _: self.backend, self.registry, devices, leases)

    def ask(self, name: str, plan: Plan = PLAN) -> Rollout:
        columns = replace(revision(name, serve=answering(name)), image=IMAGE).columns()
        document = plan.model_dump(mode="json")
        return self.ledger.rollouts.request(columns, document, Request(name, "", "a test"), owner=name)

    def reach(self, rollout: Rollout, phase: Phase, failures: int = 0) -> Rollout:
        """Reconcile until a rollout is in a phase, while its revision answers requests."""

        def reached() -> Rollout | None:
            self.counts.answer(rollout.revision_id, 20, failures)
            self.reconciler.run_once()
            now = self.ledger.rollouts.get(rollout.id)
            return now if now.phase is phase else None

        return until(reached, str(phase))

    def stable(self, name: str) -> Rollout:
        return self.reach(self.ask(name, RETURN), Phase.PROMOTED)

    @property
    def weights(self) -> dict[str, int]:
        return dict(self.backend.router.read("digits")[1].weights)


@pytest.fixture
def stage(
    sqlite_url: str, core: k8s.CoreV1Api, namespace: str, objects: Objects, gateway_router: GatewayRouter
) -> Stage:
    default_account(core, namespace)
    return Stage(sqlite_url, objects, gateway_router)


def _deployments(stage: Stage) -> set[str]:
    found = stage.objects.list(DEPLOYMENT, {"bulkhead.dev/service": "digits"})
    return {one["metadata"]["name"] for one in found if not one["metadata"].get("deletionTimestamp")}


def test_a_good_revision_takes_over_and_the_old_one_goes(stage: Stage) -> None:
    old = stage.stable("old")
    assert stage.weights == {old.revision_id: 100}
    new = stage.ask("new")
    stage.reach(new, Phase.ANALYSING)
    stage.reach(new, Phase.PROMOTED)
    assert stage.weights == {new.revision_id: 100}
    assert _deployments(stage) == {server_name(new.revision_id)}
    assert stage.registry.alias == stage.registry.versions[new.revision_id]


def test_a_bad_one_goes_and_what_somebody_changed_meanwhile_is_told_and_mended(stage: Stage) -> None:
    old = stage.stable("old")
    bad = stage.ask("bad")
    stage.reach(bad, Phase.ANALYSING)
    scaled = {"spec": {"replicas": 0}}
    k8s.AppsV1Api(stage.objects.api).patch_namespaced_deployment(
        server_name(old.revision_id), stage.objects.namespace, scaled, field_manager="kubectl-scale"
    )
    ended = stage.reach(bad, Phase.ROLLED_BACK, failures=20)
    assert "failed" in str(ended.reason)
    assert stage.weights == {old.revision_id: 100}

    def mended() -> bool:
        stage.reconciler.run_once()
        return _replicas(stage, old.revision_id) == 1

    until(mended, "the stable server's pods")
    message = [event.data["why"] for event in stage.ledger.events.select(kind="drift", service="digits")]
    assert any("spec.replicas was set by" in one and "kubectl-scale" in one for one in message)
    assert _deployments(stage) == {server_name(old.revision_id)}


def _replicas(stage: Stage, revision_id: str) -> Any:
    found = stage.objects.read(DEPLOYMENT, server_name(revision_id))
    return found and found["spec"]["replicas"]


def test_the_isolation_levels_up_to_the_pod(stage: Stage, core: k8s.CoreV1Api) -> None:
    old = stage.stable("old")
    bad = stage.ask("bad")
    stage.reach(bad, Phase.ANALYSING)
    request = Request("isolate", "it leaks", "a test")
    stage.ledger.isolations.isolate(bad.revision_id, request, levels=(IsolationLevel.NETWORK, IsolationLevel.POD))
    stage.reach(bad, Phase.ROLLED_BACK)

    def applied() -> bool:
        stage.reconciler.run_once()
        return all(isolation.applied_at for isolation in stage.ledger.isolations.levels(bad.revision_id))

    until(applied, "every level")
    assert stage.weights == {old.revision_id: 100}
    labels = {"bulkhead.dev/revision": bad.revision_id}
    assert len(stage.objects.list(NETWORK_POLICY, labels)) == 1
    [pod] = core.list_namespaced_pod(
        stage.objects.namespace, label_selector=f"bulkhead.dev/revision={bad.revision_id}"
    ).items
    assert pod.metadata.deletion_timestamp is None and "bulkhead.dev/kept-until" in pod.metadata.annotations
    [bundle] = stage.registry.bundles.values()
    assert {"rollouts.json", "deployment.json", f"{pod.metadata.name}.json"} <= set(bundle)
    stage.ledger.isolations.unisolate(bad.revision_id, Request("release", "fixed", "a test"))
    stage.reconciler.run_once()
    assert stage.objects.list(NETWORK_POLICY, labels) == []


def test_one_of_two_acts_and_the_other_takes_over(stage: Stage) -> None:
    stage.stable("old")
    new = stage.ask("new")
    second = stage.another(lease_s=1)
    stage.reach(new, Phase.ANALYSING)  # and that one is heard of no more

    def promoted() -> bool:
        stage.counts.answer(new.revision_id, 20)
        second.run_once()
        return stage.ledger.rollouts.get(new.id).phase is Phase.PROMOTED

    until(promoted, "the other to go on")
    assert stage.weights == {new.revision_id: 100}
