"""Where each service runs, who counts its requests, and what holds for it wherever that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from bulkhead.events import Rule, decides
from bulkhead.isolation_levels import IsolationLevel


class ServicePolicy(BaseModel):
    """What holds for a service wherever it runs.

    Attributes:
        url: where its clients reach it, for the link in Airflow's UI; by default what the other fields say.
        isolation: levels by the rule that took a rollout back (``invalid``, ``not-serving``, …), beyond weight 0; a
            rule that is not named isolates nothing: the revision may be released again.
        max_isolated: how many of its revisions may be isolated at once by anything but a person.
        drift: what becomes of a change that another writer made to its traffic or its stable server: ``repair`` records
            it and writes what was wanted again; ``adopt`` records it and leaves it, until a rollout writes there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    url: str | None = Field(None, pattern="^https?://")
    isolation: Mapping[str, tuple[IsolationLevel, ...]] = Field(default_factory=dict)
    max_isolated: int = Field(5, ge=1)
    drift: Literal["repair", "adopt"] = "repair"

    @field_validator("isolation")
    @classmethod
    def _known_rules(
        cls, isolation: Mapping[str, tuple[IsolationLevel, ...]]
    ) -> Mapping[str, tuple[IsolationLevel, ...]]:
        for name in isolation:
            if not decides(name):  # it would isolate nothing, and nothing would say so
                raise ValueError(f"{name!r} is no rule: give some of {', '.join(sorted(filter(decides, Rule)))}")
        return isolation


class ServicePorts(ServicePolicy):
    """A service on this machine: where its Envoy listens, on loopback.

    Attributes:
        port: the service's TCP port.
        admin_port: the admin interface's.
    """

    port: int = Field(ge=1, le=65535)
    admin_port: int = Field(ge=1, le=65535)

    @property
    def address(self) -> str:
        """URL at which its clients reach it."""
        return self.url or f"http://127.0.0.1:{self.port}"


class GatewayRef(BaseModel):
    """A Gateway of the Gateway API.

    Attributes:
        name: of it.
        namespace: of it; by default the service's.
        section: name of one of its listeners; all by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    namespace: str | None = None
    section: str | None = None


class PrometheusQueries(BaseModel):
    """PromQL for one revision's cumulative numbers; each is asked as an instant query.

    ``{namespace}``, ``{service}``, ``{revision}`` and ``{backend}`` (the revision's Service and Deployment) are filled
    in; other braces are PromQL's own.

    Attributes:
        requests: answered so far.
        failures: of those, the server's failures; None where ``status_label`` tells them.
        status_label: label of ``requests`` with the HTTP status; failures are then told by ``plan.failing``, and client
            errors apart from them.
        buckets: cumulative latency histogram, by ``le``; None where there is none.
        bucket_unit_ms: unit of ``le``, in milliseconds.
        active: in flight now; None where they are not counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    requests: str
    failures: str | None = None
    status_label: str | None = None
    buckets: str | None = None
    bucket_unit_ms: float = Field(1000.0, gt=0)
    active: str | None = None

    @model_validator(mode="after")
    def _failures_or_status_label(self) -> PrometheusQueries:
        if (self.failures is None) == (self.status_label is None):
            raise ValueError("give failures, or the status_label of requests, and not both")
        return self


class PrometheusSource(BaseModel):
    """A Prometheus server that counts what revisions do.

    Attributes:
        url: of its HTTP API.
        token_variable: environment variable that holds a bearer token; None where it needs none.
        queries: a name of ``bulkhead.metrics.queries.DEFAULTS``, or own PromQL.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    url: str = Field(pattern="^https?://")
    token_variable: str | None = None
    queries: PrometheusQueries | str


class HttpSource(BaseModel):
    """Each revision's server says by itself what it counted, in the form of ``bulkhead.metrics.counters``.

    Attributes:
        url: where; ``{namespace}``, ``{service}``, ``{revision}`` and ``{backend}`` are filled in. One pod has to be
            there: of several behind it each would tell its own counts.
        member: of the document, which holds the counts.
        token_variable: environment variable that holds a bearer token; None where it needs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    url: str = Field("http://{backend}.{namespace}.svc:8080/statistics", pattern="^https?://")
    member: str = "model"
    token_variable: str | None = None


class RouterPods(BaseModel):
    """Envoys of the project's own in a service's namespace, for a cluster without a Gateway; the chart installs them.

    Attributes:
        port: at which each pod says which split its Envoy has, and what that has counted.
        token_variable: environment variable that holds the bearer token for it, in the pods and in the control plane.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    port: int = Field(9465, ge=1, le=65535)
    token_variable: str = Field("BULKHEAD_ROUTER_TOKEN", min_length=1)


class ClusterService(ServicePolicy):
    """A service in a Kubernetes cluster, behind a Gateway or behind Envoys of the project's own.

    Attributes:
        namespace: of its servers and its HTTPRoute, which has the service's name.
        gateway: that the route hangs on; or
        envoy: where there is no Gateway.
        hostnames: of the route; any by default. Envoys of the project's own take every host.
        path: prefix of the requests that are the service's. Envoys of the project's own take every path.
        prometheus: counts what its revisions do; or
        http: where each of them says that by itself. With ``envoy``, neither: the Envoys count.
        cluster: Airflow connection, as in ``kubeconfigs``; by default the pod's own service account, or the default
            kubeconfig.
        mlflow_secret: Secret in the namespace that holds MLflow's ``username`` and ``password``; None where the server
            needs none.
        resync_s: how often to look whether another writer has changed anything, in seconds.
        confirm_s: how long to wait for the Gateway's controller, or for the Envoys, to confirm a change before looking
            after the other services, in seconds; they are asked again at the next poll.
        keep_s: how long pods of the level ``pod`` are kept for inspection, in seconds.
    """

    namespace: str = Field(min_length=1)
    gateway: GatewayRef | None = None
    envoy: RouterPods | None = None
    hostnames: tuple[str, ...] = ()
    path: str = Field("/", pattern="^/")
    prometheus: PrometheusSource | None = None
    http: HttpSource | None = None
    cluster: str | None = None
    mlflow_secret: str | None = None
    resync_s: float = Field(10.0, ge=0)
    confirm_s: float = Field(5.0, gt=0)
    keep_s: float = Field(86400.0, gt=0)

    @model_validator(mode="after")
    def _one_of_each(self) -> ClusterService:
        if (self.gateway is None) == (self.envoy is None):
            raise ValueError("say who splits the traffic: give gateway or envoy")
        if self.envoy is not None and (self.hostnames or self.path != "/"):
            raise ValueError("hostnames and path are a Gateway's: envoy takes every request; leave them out")
        sources = (self.prometheus is not None) + (self.http is not None)
        if sources > 1 or (self.envoy is None and not sources):
            raise ValueError("say who counts the requests: give prometheus or http")
        return self

    @property
    def address(self) -> str:
        """URL at which its clients reach it; empty where the configuration does not say."""
        return self.url or (f"http://{self.hostnames[0]}{self.path}" if self.hostnames else "")


def _where(data: Any) -> str:
    """Which of the two a service's fields describe."""
    cluster = bool({"gateway", "envoy"} & set(data)) if isinstance(data, Mapping) else isinstance(data, ClusterService)
    return "cluster" if cluster else "here"


AnyService = Annotated[
    Annotated[ServicePorts, Tag("here")] | Annotated[ClusterService, Tag("cluster")], Discriminator(_where)
]
"""A service on this machine, or one in a cluster: that names ``gateway`` or ``envoy``."""
