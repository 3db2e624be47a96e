"""A world in memory for the reconciler's own tests: it keeps the fences that the real one keeps."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf

from bulkhead.errors import FencedError, NotFoundError, UnavailableError
from bulkhead.ledger.leases import Leases
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Revision, Rollout
from bulkhead.metrics.counters import Counters
from bulkhead.pods.status import PodPhase as PodPhase
from bulkhead.pods.status import PodStatus
from bulkhead.rollout.backend import ServingBackend
from bulkhead.rollout.devices import Devices
from bulkhead.rollout.plan import RETURN, Plan
from bulkhead.rollout.reconciler import Reconciler
from bulkhead.routers.base import Fence, Split
from bulkhead.settings import FleetSettings, ServicePolicy
from bulkhead.workloads.base import Placement, Workload
from tests.rollouts import revision


class Clock:
    """A clock that only the test moves. Attributes: now; elapsed (seconds that only grow, as a monotonic clock has)."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 10, tzinfo=UTC)
        self.elapsed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.elapsed += max(0.0, seconds)


@dataclass
class MemoryRouter:
    """Splits by assignment. Attributes: splits by service, counters by revision, whether it answers."""

    splits: dict[str, tuple[Fence, Split]] = field(default_factory=dict)
    seen: dict[str, Counters] = field(default_factory=dict)
    up: bool = True
    history: list[dict[str, int]] = field(default_factory=list)

    def read(self, service: str) -> tuple[Fence, Split]:
        return self.splits.get(service, (Fence(0, 0), Split()))

    def apply(self, service: str, split: Split, fence: Fence) -> None:
        if fence < self.read(service)[0]:
            raise FencedError("an older fence")
        if not self.up:
            raise UnavailableError("the router is down")
        self.splits[service] = (fence, split)
        self.history.append(dict(split.weights))

    def editor(self, service: str) -> str:
        return "the test"

    def counters(self, service: str, revisions: Collection[str]) -> Mapping[str, Counters]:
        if not self.up:
            raise UnavailableError("the router is down")
        return {name: self.seen.get(name, Counters()) for name in revisions}

    def answer(self, revision: str, requests: int, failures: int = 0, slow: int = 0, active: int = 0) -> None:
        """Count so many requests more."""
        old = self.seen.get(revision, Counters())
        self.seen[revision] = Counters(
            old.requests + requests,
            old.failures + failures,
            {250.0: old.slow.get(250.0, 0) + requests - slow, inf: old.slow.get(inf, 0) + requests},
            active,
        )


@dataclass
class MemoryWorkloads:
    """Servers by revision.

    Attributes: ready (what a new server is), servers, launched (in order), comparers, edited (what somebody
    else changed, by revision), cut (off from the network), kept (for inspection), told (where pods say what they
    answered, by revision).
    """

    ready: bool = True
    servers: dict[str, PodStatus] = field(default_factory=dict)
    launched: list[str] = field(default_factory=list)
    comparers: dict[str, PodStatus] = field(default_factory=dict)
    edited: dict[str, str] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    kept: list[str] = field(default_factory=list)
    endpoints: dict[str, dict[str, str]] = field(default_factory=dict)

    def drift(self, revision: Revision, generation: int) -> str | None:
        return self.edited.get(revision.id)

    def deny_network(self, revision_id: str) -> None:
        self.cut.add(revision_id)

    def allow_network(self, revision_id: str) -> None:
        self.cut.discard(revision_id)

    def orphan(self, revision_id: str) -> None:
        self.kept.append(revision_id)

    def expire(self) -> None:
        self.kept.clear()

    def launch(self, revision: Revision, generation: int) -> None:
        self.edited.pop(revision.id, None)
        if revision.id not in self.servers or self.servers[revision.id].ended:
            self.servers[revision.id] = PodStatus(PodPhase.RUNNING, ready=self.ready)
            self.launched.append(revision.id)

    def find(self, revision_id: str) -> Workload | None:
        status = self.servers.get(revision_id)
        return Workload(1000 + self.launched.index(revision_id), status) if status else None

    def statistics_endpoints(self, revision_id: str) -> dict[str, str]:
        return self.endpoints.get(revision_id, {})

    def placement(self, revision_id: str) -> Placement:
        if revision_id not in self.servers:
            return Placement()
        return Placement(frozenset({f"node-of-{revision_id}"}), frozenset({f"ml/{revision_id}"}))

    def stop(self, revision_id: str, generation: int) -> None:
        self.servers.pop(revision_id, None)

    def evidence(self, revision_id: str) -> dict[str, str]:
        return {"server.log": "its termination message"} if revision_id in self.servers else {}

    def launch_comparer(self, service: str, candidate: str, stable: str, generation: int) -> None:
        self.comparers.setdefault(candidate, PodStatus(PodPhase.RUNNING, ready=self.ready))

    def find_comparer(self, revision_id: str) -> Workload | None:
        status = self.comparers.get(revision_id)
        return Workload(2000, status) if status else None

    def stop_comparer(self, revision_id: str, generation: int) -> None:
        self.comparers.pop(revision_id, None)

    def die(self, revision_id: str) -> None:
        self.servers[revision_id] = PodStatus(PodPhase.FAILED, message="killed")


@dataclass
class MemoryRegistry:
    """Versions and one alias. Attributes: versions by revision, alias, broken (raised by register)."""

    versions: dict[str, str] = field(default_factory=dict)
    alias: str | None = None
    broken: Exception | None = None
    generations: dict[str, int] = field(default_factory=dict)
    forbidden: dict[str, str] = field(default_factory=dict)
    bundles: dict[str, dict[str, str]] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    def measured(self, model_name: str, version: str, names: Collection[str], since: datetime) -> dict[str, float]:
        if self.broken is not None:
            raise self.broken
        return {name: value for name, value in self.metrics.get(version, {}).items() if name in names}

    def register(self, model_name: str, model_uri: str, revision: str) -> str:
        if self.broken is not None:
            raise self.broken
        return self.versions.setdefault(revision, str(len(self.versions) + 1))

    def check(self, model_name: str, version: str) -> None:
        if version not in self.versions.values():
            raise NotFoundError(f"MLflow knows no version {version} of model {model_name!r}")

    def forbid(self, model_uri: str, model_name: str, version: str | None, reason: str) -> None:
        if self.broken is not None:
            raise self.broken
        self.forbidden[model_uri] = reason

    def allow(self, model_uri: str, model_name: str, version: str | None) -> None:
        self.forbidden.pop(model_uri, None)

    def keep(self, name: str, files: Mapping[str, str]) -> str:
        if self.broken is not None:
            raise self.broken
        self.bundles.setdefault(name, dict(files))
        return name

    def champion(self, model_name: str) -> str | None:
        return self.alias

    def point(self, model_name: str, version: str | None, service: str, generation: int) -> None:
        if generation < self.generations.get(service, 0):
            raise FencedError("an older generation")
        self.alias, self.generations[service] = version, generation


class Stage:
    """A reconciler with its memory world.

    Attributes: ledger, router, workloads, registry, clock, quarantines, fleet, devices, reconciler, backends (of
    services that have one of their own).
    """

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.ledger = Ledger(url, self.clock)
        self.router, self.workloads, self.registry = MemoryRouter(), MemoryWorkloads(), MemoryRegistry()
        self.policies: dict[str, ServicePolicy] = {}
        self.backend = ServingBackend(self.router, self.workloads, self.router)
        self.backends: dict[str, ServingBackend] = {}
        self.quarantines, self.fleet = self.ledger.quarantines, self.ledger.fleet
        self.devices = Devices(self.quarantines, self.fleet, FleetSettings(), self.clock)
        self.reconciler = self.another()

    def another(self, lease_s: float = 5) -> Reconciler:
        """A second reconciler over the same world."""
        leases = Leases(self.ledger.engine, lease_s, lambda: self.clock.elapsed)
        backends = lambda name: self.backends.get(name, self.backend)  # noqa: E731
        return Reconciler(self.ledger, backends, self.registry, self.devices, leases, self.policies, self.clock)

    def ask(self, name: str, plan: Plan, service: str = "digits") -> Rollout:
        """Ask for a revision to be rolled out."""
        columns, document = revision(name, service).columns(), plan.model_dump(mode="json")
        return self.ledger.rollouts.request(columns, document, Request(name, "", "a test"), owner=f"run of {name}")

    def stable(self, name: str = "old") -> str:
        """Make a revision the stable one; its id."""
        rollout = self.ask(name, RETURN)
        assert self.reconciler.run_once() is False
        assert self.now(rollout).phase is Phase.PROMOTED
        return rollout.revision_id

    def now(self, rollout: Rollout) -> Rollout:
        return self.ledger.rollouts.get(rollout.id)

    @property
    def weights(self) -> dict[str, int]:
        return dict(self.router.read("digits")[1].weights)
