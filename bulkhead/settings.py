"""Where things are: the one configuration that Airflow's processes, the reconciler and the CLI share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkhead.errors import InvalidInputError
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

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class Settings(BaseModel):
    """The configuration.

    Attributes:
        home: folder of the local runtime, the router's files and, by default, the ledger.
        ledger_url: of the ledger; SQLite below ``home`` by default.
        mlflow_tracking_uri: of the MLflow server.
        gpu_stand_ins: CPU stand-ins that may serve GPU requests where NVML sees no GPU; 0 for none.
        services: ports by service.
        lease_s: another reconciler takes over from one that has shown no sign of life for so long, in seconds.
        kubeconfigs: path of a kubeconfig by Airflow connection, for ``bulkhead collect``, which works without Airflow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path("~/.bulkhead").expanduser()
    ledger_url: str = ""
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    gpu_stand_ins: int = Field(0, ge=0)
    services: Mapping[str, ServicePorts] = Field(default_factory=dict)
    lease_s: float = Field(5.0, gt=0, le=300)
    kubeconfigs: Mapping[str, str] = Field(default_factory=dict)

    @property
    def ledger(self) -> str:
        """URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.home.absolute()}/ledger.db"

    @property
    def pods(self) -> Path:
        """Root of the local runtime."""
        return self.home / "pods"

    @property
    def routers(self) -> Path:
        """Root of the Envoy router's files."""
        return self.home / "routers"


def load(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the configuration: file, then environment (``BULKHEAD_LEDGER_URL`` and so on), then ``overrides``.

    Args:
        overrides: highest precedence; for instance the fields of an Airflow connection.

    Returns:
        The settings.

    Raises:
        InvalidInputError: the file is missing though it was named, or a field is wrong.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named) if named else _DEFAULT.expanduser()
    data: dict[str, Any] = {}
    if path.exists():
        data = _read(path)
    elif named:
        raise InvalidInputError(CONFIG_VARIABLE, named, "no such file; name an existing one or unset the variable")
    for name in _OVERRIDES:
        value = os.environ.get(f"BULKHEAD_{name.upper()}")
        if value:
            data[name] = value
    data.update({name: value for name, value in (overrides or {}).items() if value not in (None, "")})
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        shown = "<hidden>" if "url" in field else first["input"]
        raise InvalidInputError(f"{path}: {field}", shown, first["msg"]) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidInputError("configuration", str(path), f"not readable as YAML: {error}") from error
    if not isinstance(data, dict):
        raise InvalidInputError("configuration", str(path), "must hold a mapping of fields to values")
    return data
