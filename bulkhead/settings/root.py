"""The whole of the configuration, and reading it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bulkhead import arguments
from bulkhead.errors import InvalidInputError, NotFoundError
from bulkhead.logs import Format
from bulkhead.settings.fleet import FleetSettings
from bulkhead.settings.monitoring import MonitoringSettings
from bulkhead.settings.services import AnyService, ClusterService, ServicePorts

CONFIG_VARIABLE = "BULKHEAD_CONFIG"
"""Environment variable that names the configuration file."""

_DEFAULT = Path("~/.bulkhead/config.yaml")
_OVERRIDES = (
    "ledger_url",
    "mlflow_tracking_uri",
    "mlflow_ui_url",
    "mlflow_secret",
    "tasks_image",
    "runtime_conn_id",
    "simulated_gpus",
)


class Settings(BaseModel):
    """The configuration.

    Attributes:
        home: folder of the local runtime, the router's files and, by default, the ledger.
        ledger_url: of the ledger; SQLite below ``home`` by default.
        mlflow_tracking_uri: of the MLflow server.
        mlflow_ui_url: of MLflow's UI, as a browser reaches it, for links in Airflow's UI; by default the tracking URI.
        mlflow_secret: Secret in the namespace of tasks' pods that holds MLflow's ``username`` and ``password``; None
            where the server needs none.
        tasks_image: container image with Bulkhead and torch, as ``make images IMAGES=tasks`` builds it: what tasks and
            servers run that name none, and what compares answers. The default has no registry, so that a cluster pulls
            nobody else's.
        runtime_conn_id: Airflow connection of where tasks run their pods, unless the task names another: of type
            *Kubernetes* or *Bulkhead local runtime*.
        simulated_gpus: simulated GPUs that may serve GPU requests where NVML sees no GPU; 0 for none.
        services: by name: ``ServicePorts`` or ``ClusterService``.
        log_format: of what services write to their standard error: ``text``, or ``json``, an object a line.
        lease_s: another reconciler takes over from one that has shown no sign of life for so long, in seconds.
        fleet: whose devices are watched.
        monitoring: port of probes and metrics of each long-running part; None for none.
        kubeconfigs: path of a kubeconfig by Airflow connection, for ``bulkhead collect``, which works without Airflow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    home: Path = Path("~/.bulkhead").expanduser()
    ledger_url: str = ""
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    mlflow_ui_url: str = Field("", pattern="^(https?://.*)?$")
    mlflow_secret: str | None = Field(None, min_length=1)
    tasks_image: str = Field("localhost/bulkhead-tasks:latest", min_length=1)
    runtime_conn_id: str = Field("bulkhead_local_default", min_length=1)
    simulated_gpus: int = Field(0, ge=0)
    services: Mapping[str, AnyService] = Field(default_factory=dict)
    log_format: Format = "text"
    lease_s: float = Field(5.0, gt=0, le=300)
    fleet: FleetSettings = FleetSettings()
    monitoring: MonitoringSettings | None = None
    kubeconfigs: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("services", mode="before")
    @classmethod
    def _names(cls, services: Any) -> Any:
        """A name is part of paths and of host names: ``../x`` would lead out of the home folder."""
        for name in services if isinstance(services, Mapping) else ():
            if not arguments.is_service(name):
                raise ValueError(f"{name!r} is no name of a service: {arguments.SERVICE_NAME}")
        return services

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
    def mlflow_ui(self) -> str:
        """Address of MLflow's UI, without a password and a slash at its end; empty where MLflow has none."""
        parts = urlsplit(self.mlflow_ui_url or self.mlflow_tracking_uri)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path.rstrip('/')}" if parts.scheme in ("http", "https") else ""

    @property
    def ports(self) -> dict[str, ServicePorts]:
        """The services of this machine."""
        return {name: ports for name, ports in self.services.items() if isinstance(ports, ServicePorts)}

    def service(self, name: str) -> ServicePorts | ClusterService:
        """A service.

        Raises:
            NotFoundError: the configuration does not know it.
        """
        if name not in self.services:
            names = ", ".join(sorted(self.services)) or "none"
            raise NotFoundError(f"unknown service {name!r}; services in the configuration: {names}")
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
    for override in overrides:
        data.update({name: value for name, value in override.items() if value not in (None, "")})
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
