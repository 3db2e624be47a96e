"""Where things are: the one configuration that Airflow's processes, the reconciler and the CLI share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from bulkhead.errors import InvalidInputError, NotFoundError
from bulkhead.logs import Format
from bulkhead.rungs import Rung

CONFIG_VARIABLE = "BULKHEAD_CONFIG"
"""Environment variable that names the configuration file."""

_DEFAULT = Path("~/.bulkhead/config.yaml")
_OVERRIDES = ("ledger_url", "mlflow_tracking_uri", "gpu_stand_ins")


class ServicePolicy(BaseModel):
    """What holds for a service wherever it runs.

    Attributes:
        isolation: rungs by the rule that took a rollout back (``invalid``, ``not-serving``, …), beyond weight 0; a rule
            that is not named isolates nothing: the revision may be released again.
        max_isolated: how many of its revisions may be isolated at once by anything but a person.
        drift: what becomes of a change that somebody else made to its traffic or its stable server: ``repair`` records
            it and writes what was wanted again; ``adopt`` records it and leaves it, until a rollout writes there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    isolation: Mapping[str, tuple[Rung, ...]] = Field(default_factory=dict)
    max_isolated: int = Field(5, ge=1)
    drift: Literal["repair", "adopt"] = "repair"


class ServicePorts(ServicePolicy):
    """A service on this machine: where its Envoy listens, on loopback.

    Attributes:
        port: the service's TCP port.
        admin_port: the admin interface's.
    """

    port: int = Field(ge=1, le=65535)
    admin_port: int = Field(ge=1, le=65535)


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
        buckets: cumulative latency histogram, by ``le``; None where nobody measures one.
        bucket_unit_ms: unit of ``le``, in milliseconds.
        active: in flight now; None where nobody counts them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    requests: str
    failures: str | None = None
    status_label: str | None = None
    buckets: str | None = None
    bucket_unit_ms: float = Field(1000.0, gt=0)
    active: str | None = None

    @model_validator(mode="after")
    def _failures_are_told(self) -> PrometheusQueries:
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


class ClusterService(ServicePolicy):
    """A service in a Kubernetes cluster, behind a Gateway.

    Attributes:
        namespace: of its servers and its HTTPRoute, which has the service's name.
        gateway: that the route hangs on.
        hostnames: of the route; any by default.
        path: prefix of the requests that are the service's.
        prometheus: counts what its revisions do; or
        http: where each of them says that by itself.
        cluster: Airflow connection, as in ``kubeconfigs``; by default the pod's own service account, or the default
            kubeconfig.
        mlflow_secret: Secret in the namespace that holds MLflow's ``username`` and ``password``; None where the server
            needs none.
        resync_s: how often to look whether somebody else has changed anything, in seconds.
        confirm_s: how long to wait for the Gateway's controller to confirm a change before looking after the other
            services, in seconds; it is asked again at the next look.
        keep_s: how long pods of the rung ``pod`` are kept for inspection, in seconds.
    """

    namespace: str = Field(min_length=1)
    gateway: GatewayRef
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
    def _one_source(self) -> ClusterService:
        if (self.prometheus is None) == (self.http is None):
            raise ValueError("say who counts the requests: give prometheus or http")
        return self


class Exporter(BaseModel):
    """A dcgm-exporter, of one node or of several behind one address.

    Attributes:
        url: of its metrics.
        token_variable: environment variable that holds a bearer token; None where it needs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    url: str = Field(pattern="^https?://")
    token_variable: str | None = None


class FleetPrometheus(Exporter):
    """A Prometheus server that scrapes the exporters.

    Attributes:
        selector: more label matchers, for instance ``cluster="a"``.
    """

    selector: str = ""


class KernelLog(BaseModel):
    """The kernel log of this machine, or of a node whose logs arrive here.

    Attributes:
        path: of the file.
        node: host name; by default this machine's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: Path
    node: str | None = None


class FleetSettings(BaseModel):
    """Whose devices are watched, and what becomes of the sick ones.

    Attributes:
        exporters: dcgm-exporters that are asked by themselves.
        prometheus: a server that has scraped them.
        nvml: whether this machine's own GPUs are looked at.
        kernel_logs: files with Xids.
        nodes: whether the cluster is asked for its nodes; quarantines are on paper where it is not.
        cluster: Airflow connection, as in ``kubeconfigs``; by default the pod's own service account, or the default
            kubeconfig.
        policy: YAML file of thresholds (``bulkhead.health.policy``); its defaults where None.
        poll_s: how often to look, in seconds.
        quarantine: whether sick devices are kept away from work; False: they are only told of.
        budget_share: share of the devices of a model that may be in quarantine at once, but for the first.
        pods: what becomes of a quarantined node's GPU pods: ``leave`` them, ``drain`` them by eviction after
            ``grace_s``, or ``kill`` them.
        grace_s: in seconds.
        term_s: first probation, in seconds; each relapse doubles it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    exporters: tuple[Exporter, ...] = ()
    prometheus: FleetPrometheus | None = None
    nvml: bool = False
    kernel_logs: tuple[KernelLog, ...] = ()
    nodes: bool = False
    cluster: str | None = None
    policy: Path | None = None
    poll_s: float = Field(15.0, gt=0, le=3600)
    quarantine: bool = True
    budget_share: float = Field(0.05, gt=0, le=1)
    pods: Literal["leave", "drain", "kill"] = "leave"
    grace_s: float = Field(600.0, ge=0)
    term_s: float = Field(3600.0, gt=0)

    def budget(self, devices: int) -> int:
        """How many devices of a model may be in quarantine at once.

        Args:
            devices: of the model.
        """
        return max(1, int(self.budget_share * devices))


def _where(data: Any) -> str:
    """Which of the two a service's fields describe."""
    cluster = "gateway" in data if isinstance(data, Mapping) else isinstance(data, ClusterService)
    return "cluster" if cluster else "here"


AnyService = Annotated[
    Annotated[ServicePorts, Tag("here")] | Annotated[ClusterService, Tag("cluster")], Discriminator(_where)
]
"""A service on this machine, or one in a cluster: that names a gateway."""


class Settings(BaseModel):
    """The configuration.

    Attributes:
        home: folder of the local runtime, the router's files and, by default, the ledger.
        ledger_url: of the ledger; SQLite below ``home`` by default.
        mlflow_tracking_uri: of the MLflow server.
        gpu_stand_ins: CPU stand-ins that may serve GPU requests where NVML sees no GPU; 0 for none.
        services: by name: ``ServicePorts`` or ``ClusterService``.
        log_format: of what services write to their standard error: ``text``, or ``json``, an object a line.
        lease_s: another reconciler takes over from one that has shown no sign of life for so long, in seconds.
        fleet: whose devices are watched.
        kubeconfigs: path of a kubeconfig by Airflow connection, for ``bulkhead collect``, which works without Airflow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    home: Path = Path("~/.bulkhead").expanduser()
    ledger_url: str = ""
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    gpu_stand_ins: int = Field(0, ge=0)
    services: Mapping[str, AnyService] = Field(default_factory=dict)
    log_format: Format = "text"
    lease_s: float = Field(5.0, gt=0, le=300)
    fleet: FleetSettings = FleetSettings()
    kubeconfigs: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("services")
    @classmethod
    def _ports_of_their_own(cls, services: Mapping[str, AnyService]) -> Mapping[str, AnyService]:
        """An Envoy whose port is taken comes up without it: the first release would wait for it in vain."""
        taken: dict[int, str] = {}
        for name, service in services.items():
            if isinstance(service, ServicePorts):
                for field in ("port", "admin_port"):
                    port, named = getattr(service, field), f"{name}.{field}"
                    if port in taken:
                        raise ValueError(f"{taken[port]} and {named} are both {port}: give each a port of its own")
                    taken[port] = named
        return services

    @property
    def ledger(self) -> str:
        """URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.home.absolute()}/ledger.db"

    @property
    def ports(self) -> dict[str, ServicePorts]:
        """The services of this machine."""
        return {name: one for name, one in self.services.items() if isinstance(one, ServicePorts)}

    def service(self, name: str) -> ServicePorts | ClusterService:
        """A service.

        Args:
            name: of it.

        Raises:
            NotFoundError: the configuration does not know it.
        """
        if name not in self.services:
            known = ", ".join(sorted(self.services)) or "none"
            raise NotFoundError(f"unknown service {name!r}; services in the configuration: {known}")
        return self.services[name]

    @property
    def pods(self) -> Path:
        """Root of the local runtime."""
        return self.home / "pods"

    @property
    def routers(self) -> Path:
        """Root of the Envoy router's files."""
        return self.home / "routers"


def load(*overrides: Mapping[str, Any], file: str | None = None) -> Settings:
    """Read the configuration: file, then environment (``BULKHEAD_LEDGER_URL`` and so on), then ``overrides``.

    Args:
        overrides: highest precedence, the last above the others; for instance the fields of an Airflow connection.
            What is None or empty there overrides nothing.
        file: path of the file; None: the environment's ``BULKHEAD_CONFIG``, else ``~/.bulkhead/config.yaml``.

    Returns:
        The settings.

    Raises:
        InvalidInputError: the file is missing though it was named, or a field is wrong.
    """
    named = file or os.environ.get(CONFIG_VARIABLE)
    path = Path(named) if named else _DEFAULT.expanduser()
    data: dict[str, Any] = {}
    if path.exists():
        data = _read(path)
    elif named:
        by = "config_file" if file else CONFIG_VARIABLE
        raise InvalidInputError(by, named, "no such file; name an existing one, or none for the default")
    for name in _OVERRIDES:
        value = os.environ.get(f"BULKHEAD_{name.upper()}")
        if value:
            data[name] = value
    for one in overrides:
        data.update({name: value for name, value in one.items() if value not in (None, "")})
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        loc = [part for index, part in enumerate(first["loc"]) if (first["loc"][0], index) != ("services", 2)]
        field = ".".join(str(part) for part in loc)  # without the name of the kind of service
        shown = "<hidden>" if "url" in field else first["input"]
        raise InvalidInputError(f"{path}: {field}", shown, first["msg"].removeprefix("Value error, ")) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInputError("configuration", str(path), f"not readable as YAML: {error}") from error
    if not isinstance(data, dict):
        raise InvalidInputError("configuration", str(path), "must hold a mapping of fields to values")
    return data
