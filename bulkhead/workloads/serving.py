"""What an author may say of how a revision is served: its ``serve``, checked before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from bulkhead import arguments
from bulkhead.errors import first_invalid
from bulkhead.pods.gpu_request import GpuRequest
from bulkhead.pods.quantities import QUANTITY, is_quantity
from bulkhead.pods.relaxations import Relaxations
from bulkhead.pods.secret_ref import SecretRef

_RELAXATIONS = sorted(
    field.name for field in fields(Relaxations) if field.type in ("bool", bool) and field.name != "no_deadline"
)

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
        gpu: more about the GPUs, as ``bulkhead.pods.gpu_request.GpuRequest`` has it; in a cluster only.
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
        relax: names of ``bulkhead.pods.relaxations.Relaxations`` that the image needs, for instance ``run_as_root``; in
            a cluster.
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

    @field_validator("cpu", "memory")
    @classmethod
    def _quantity(cls, value: str | None) -> str | None:
        if value is not None and not is_quantity(value):
            raise ValueError(QUANTITY)
        return value

    @field_validator("gpu")
    @classmethod
    def _request(cls, gpu: Mapping[str, Any]) -> Mapping[str, Any]:
        names = sorted(field.name for field in fields(GpuRequest))
        for name in gpu:
            if name not in names:
                raise ValueError(f"{name!r} is no field of it: give one of {', '.join(names)}")
        GpuRequest(**_tuples(gpu))
        return gpu

    @field_validator("relax")
    @classmethod
    def _relaxations(cls, relax: tuple[str, ...]) -> tuple[str, ...]:
        for name in relax:
            if name not in _RELAXATIONS:
                raise ValueError(f"{name!r} is none of {', '.join(_RELAXATIONS)}")
        return relax

    @field_validator("command", "worker_command")
    @classmethod
    def _fillable(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        for word in command:
            try:
                word.format(port=1, model_uri="models:/m")
            except (LookupError, ValueError, AttributeError):
                remedy = "write {port} and {model_uri}, and braces that mean themselves twice"
                raise ValueError(f"{word!r} has braces that cannot be filled in: {remedy}") from None
        return command

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
        """
        return _filled(self.command, port, model_uri) or default

    def worker_argv(self, port: int, model_uri: str) -> list[str]:
        """The command of a group's other pods.

        Args:
            port: TCP port.
        """
        return _filled(self.worker_command or self.command, port, model_uri)

    @property
    def gpu_request(self) -> GpuRequest:
        """The GPUs of each pod in a cluster."""
        return GpuRequest(**{"count": self.gpus, **_tuples(self.gpu)})

    @property
    def relaxations(self) -> Relaxations:
        """What the image needs, in a cluster; a server runs on for ever."""
        asked: dict[str, Any] = dict.fromkeys(self.relax, True)
        return Relaxations(no_deadline=True, **asked)

    def secrets(self, always: Mapping[str, tuple[str, str]]) -> dict[str, SecretRef]:
        """Variables from secrets.

        Args:
            always: those of every server, as (secret, key) by name.
        """
        return {name: SecretRef(*reference) for name, reference in {**always, **self.secret_env}.items()}


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


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


def check_serve(data: Mapping[str, Any], is_open: Callable[[Any], bool]) -> ServeSpec | None:
    """Refuse what is wrong of how a revision is to be served, whatever its open values turn out to be.

    Args:
        is_open: whether a value, or one in it, will be known only later: a template.

    Returns:
        It; None where an open value keeps it from being made.

    Raises:
        InvalidInputError: names the first offending field.
    """
    return arguments.fields(
        "serve", data, ServeSpec, is_open, "give a mapping of the fields of serve (docs/serving.md)"
    )
