"""What an author may say of how a revision is served: its ``serve``, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bulkhead.errors import first_invalid
from bulkhead.pods.spec import SecretRef


class ServeSpec(BaseModel):
    """How a revision's server is to run.

    Attributes:
        command: argv; ``{port}`` and ``{model_uri}`` are filled in. By default our own server of MLflow models.
        gpus: whole GPUs of each pod.
        gpu: more about the GPUs, as ``bulkhead.pods.gpu.GpuRequest`` has it; in a cluster only.
        cpu: limit of each pod as a Kubernetes quantity.
        memory: limit of each pod as a Kubernetes quantity.
        env: plain variables; never secrets.
        secret_env: variables from secrets, each as [secret, key].
        ready_path: HTTP path that answers 200 once the model can.
        statistics_path: HTTP path at which the server says what its model answered, in the form of
            ``bulkhead.metrics.counters``; our own server has one.
        port: TCP port in a cluster; on one machine a free one is chosen.
        replicas: pods in a cluster; None leaves their number to an autoscaler.
        startup_s: how long a pod may take to load its model, in seconds; in a cluster.
        drain_s: how long a pod goes on serving after it was told to end, for routers to notice, in seconds; in a
            cluster.
        pod: part of a ``v1.PodSpec``, as YAML has it, laid over what is made here: node selectors, volumes, a service
            account, more containers. A container named ``main`` changes the server's. In a cluster.
        relax: names of ``bulkhead.pods.hardening.Relaxations`` that the image needs, for instance ``run_as_root``; in a
            cluster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...] = ()
    gpus: int = Field(0, ge=0)
    gpu: Mapping[str, Any] = Field(default_factory=dict)
    cpu: str | None = None
    memory: str | None = None
    env: Mapping[str, str] = Field(default_factory=dict)
    secret_env: Mapping[str, tuple[str, str]] = Field(default_factory=dict)
    ready_path: str = Field("/ping", pattern="^/")
    statistics_path: str | None = Field(None, pattern="^/")
    port: int = Field(8080, ge=1, le=65535)
    replicas: int | None = Field(1, ge=1)
    startup_s: int = Field(600, ge=1)
    drain_s: int = Field(5, ge=0)
    pod: Mapping[str, Any] = Field(default_factory=dict)
    relax: tuple[str, ...] = ()

    @field_validator("env", mode="before")
    @classmethod
    def _text(cls, env: Any) -> Any:
        return {name: str(value) for name, value in env.items()} if isinstance(env, Mapping) else env

    def argv(self, default: list[str], port: int, model_uri: str) -> list[str]:
        """The command of the server.

        Args:
            default: where the author gives none.
            port: TCP port.
            model_uri: of the model.
        """
        return [word.format(port=port, model_uri=model_uri) for word in self.command] or default

    def secrets(self, always: Mapping[str, tuple[str, str]]) -> dict[str, SecretRef]:
        """Variables from secrets.

        Args:
            always: those of every server, as (secret, key) by name.
        """
        return {name: SecretRef(*reference) for name, reference in {**always, **self.secret_env}.items()}


def parse_serve(data: Mapping[str, Any]) -> ServeSpec:
    """Read how a revision is to be served.

    Args:
        data: its JSON form; what is missing takes its default.

    Raises:
        InvalidInputError: names the first offending field.
    """
    try:
        return ServeSpec.model_validate(data)
    except ValidationError as error:
        raise first_invalid(error, "serve") from error
