"""What an author may say of how a revision is served: its ``serve``, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from bulkhead.errors import first_invalid
from bulkhead.pods.spec import SecretRef

_TAKEN = {
    "canaryTrafficPercent": "not for an InferenceService of one revision: the route in front splits the traffic",
    "containers": "made from command and pod; change the container main in serve.pod",
    "labels": "how the pods of a revision are found",
}


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
        hosts: pods of each replica; with more than one, each replica is a group of a LeaderWorkerSet, whose leader runs
            ``command``. In a cluster that has it.
        worker_command: argv of a group's other pods, filled in alike; ``command`` by default. Kubernetes fills in
            ``$(LWS_LEADER_ADDRESS)``, ``$(LWS_GROUP_SIZE)`` and ``$(LWS_WORKER_INDEX)`` in both.
        kserve: lets KServe run it: part of an InferenceService's ``predictor``, as YAML has it, laid over what is made
            here; ``{}`` for the same container as without it, ``model`` for a format that a ServingRuntime knows, with
            ``{model_uri}`` filled in in its ``storageUri``. In a cluster that has it.
        drain_s: how long a pod goes on serving after it was told to end, for routers to notice, in seconds; in a
            cluster.
        pod: part of a ``v1.PodSpec``, as YAML has it, laid over what is made here: node selectors, volumes, a service
            account, more containers. A container named ``main`` changes the server's. In a cluster.
        relax: names of ``bulkhead.pods.hardening.Relaxations`` that the image needs, for instance ``run_as_root``; in a
            cluster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
    hosts: int = Field(1, ge=1)
    worker_command: tuple[str, ...] = ()
    kserve: Mapping[str, Any] | None = None
    drain_s: int = Field(5, ge=0)
    pod: Mapping[str, Any] = Field(default_factory=dict)
    relax: tuple[str, ...] = ()

    @field_validator("env", mode="before")
    @classmethod
    def _text(cls, env: Any) -> Any:
        return {name: str(value) for name, value in env.items()} if isinstance(env, Mapping) else env

    @field_validator("hosts")
    @classmethod
    def _served_by_command(cls, hosts: int, info: ValidationInfo) -> int:
        if hosts > 1 and not info.data.get("command"):
            raise ValueError("our own server runs on one host; give a command for the leader of several")
        return hosts

    @field_validator("kserve")
    @classmethod
    def _one_way_to_run(cls, kserve: Mapping[str, Any] | None, info: ValidationInfo) -> Mapping[str, Any] | None:
        if kserve is None:
            return None
        if info.data.get("hosts", 1) > 1:
            raise ValueError("a LeaderWorkerSet runs what has several hosts; give hosts or kserve")
        if "model" in kserve and info.data.get("command"):
            raise ValueError("the model's ServingRuntime has a command; give command or kserve.model")
        for taken, because in _TAKEN.items():
            if taken in kserve:
                raise ValueError(f"{taken} is {because}")
        if info.data.get("replicas") is not None and {"minReplicas", "maxReplicas"} & set(kserve):
            raise ValueError("serve.replicas gives both; make it null (None) to let an autoscaler choose between two")
        return kserve

    def argv(self, default: list[str], port: int, model_uri: str) -> list[str]:
        """The command of the server.

        Args:
            default: where the author gives none.
            port: TCP port.
            model_uri: of the model.
        """
        return _filled(self.command, port, model_uri) or default

    def worker_argv(self, port: int, model_uri: str) -> list[str]:
        """The command of a group's other pods.

        Args:
            port: TCP port.
            model_uri: of the model.
        """
        return _filled(self.worker_command or self.command, port, model_uri)

    def secrets(self, always: Mapping[str, tuple[str, str]]) -> dict[str, SecretRef]:
        """Variables from secrets.

        Args:
            always: those of every server, as (secret, key) by name.
        """
        return {name: SecretRef(*reference) for name, reference in {**always, **self.secret_env}.items()}


def _filled(words: Iterable[str], port: int, model_uri: str) -> list[str]:
    return [word.format(port=port, model_uri=model_uri) for word in words]


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
