"""The operator that runs a program in a pod: here or on a cluster, as its connection says."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.errors import InvalidInputError
from bulkhead.operators import training
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.identity import identity
from bulkhead.operators.launching import LaunchOperator
from bulkhead.operators.retry import changes_for
from bulkhead.operators.runtimes import AirflowRuntime, runtime_at
from bulkhead.operators.templates import check_known
from bulkhead.pods.distributed import QUEUE, TORCHRUN
from bulkhead.pods.quantities import check_quantity, scale
from bulkhead.pods.secret_ref import SecretRef
from bulkhead.pods.spec import RESUME_VARIABLE, PodRequest, build, check_claims

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bulkhead.control import Control

Value = TypeVar("Value")

_KEEP = ("never", "failed", "always")


class PodOperator(LaunchOperator):
    """Runs a program in a pod, on Kubernetes or on the local runtime, and returns the result that it leaves.

    Args:
        command: argv of the container; templated. Of a distributed job the program and its arguments, which
            ``torchrun`` starts on each node.
        image: container image; templated; by default the one that ``[bulkhead] tasks_image`` names. The local runtime
            records it, and runs the worker's own Python.
        cpu: CPU limit as a Kubernetes quantity.
        memory: memory limit as a Kubernetes quantity.
        env: plain variables; templated.
        secrets: variables whose values are in Secrets: by name ``secret/key``.
        claims: PersistentVolumeClaims by the path at which they are mounted; on the local runtime one that all tasks
            share is mounted at ``checkpoint`` where none is named.
        deadline: longest time that the pod may run.
        startup_timeout: a pod that is not running by then is given up.
        user_id: on Kubernetes: number of the user that the program runs as, where the image names none but root.
        service_account: on Kubernetes: under which the pod runs; of its token it gets none, unless ``relax`` says so.
        image_pull_secrets: on Kubernetes: names of the Secrets by which a private image is pulled.
        torchrun: whether ``torchrun`` starts a distributed job's program; else ``command`` is run as it is.
        namespace: on Kubernetes; templated; by default the connection's. The local runtime has one.
        keep: whether a pod on Kubernetes stays once it has finished: ``never``, ``failed`` or ``always``.
        runtime_conn_id: where the pod runs: connection of type *Kubernetes* or *Bulkhead local runtime*; by default the
            one that ``[bulkhead] runtime_conn_id`` names, else the local runtime.
        kwargs: of ``LaunchOperator``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    template_fields: Sequence[str] = ("command", "image", "env", "checkpoint", "namespace")

    def __init__(
        self,
        *,
        command: Sequence[str],
        image: str | None = None,
        cpu: str | None = None,
        memory: str | None = None,
        env: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        claims: Mapping[str, str] | None = None,
        deadline: timedelta = timedelta(hours=24),
        startup_timeout: timedelta = timedelta(minutes=10),
        user_id: int | None = None,
        service_account: str | None = None,
        image_pull_secrets: Sequence[str] = (),
        torchrun: bool = True,
        namespace: str | None = None,
        keep: str = "never",
        runtime_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_known(arguments.texts, "command", command, 1)
        check_known(arguments.named_texts, "env", env or {})
        check_quantity("cpu", cpu)
        check_quantity("memory", memory)
        check_claims("claims", claims or {})
        arguments.duration("deadline", deadline, 1)
        arguments.duration("startup_timeout", startup_timeout, 1)
        arguments.switch("torchrun", torchrun)
        arguments.choice("keep", keep, _KEEP)
        if user_id is not None:
            arguments.whole("user_id", user_id, 1)
        arguments.texts("image_pull_secrets", image_pull_secrets)
        optional = {
            "image": image,
            "namespace": namespace,
            "runtime_conn_id": runtime_conn_id,
            "service_account": service_account,
        }
        for name, value in optional.items():
            if value is not None:
                check_known(arguments.text, name, value)
        if self.restarts and not torchrun:
            raise InvalidInputError(
                "restarts", self.restarts, "leave torchrun=False out: what restarts ranks starts them"
            )
        self.command: list[str] = [*self._starter(torchrun), *command]
        self.image, self.cpu, self.memory = image, cpu, memory
        self.env, self.secret_env = dict(env or {}), _references(secrets or {})
        self.claims, self.deadline, self.user_id = dict(claims or {}), deadline, user_id
        self.startup_timeout_seconds = int(startup_timeout.total_seconds())
        self.service_account, self.image_pull_secrets = service_account, list(image_pull_secrets)
        self.namespace, self.keep, self.runtime_conn_id = namespace, keep, runtime_conn_id

    def runtime(self) -> AirflowRuntime:
        """See ``LaunchOperator``."""
        return runtime_at(self.runtime_conn_id)

    def pod_of(self, context: Context, runtime: AirflowRuntime) -> k8s.V1Pod:
        """See ``LaunchOperator``."""
        changed = changes_for(self, context)
        name = identity(context).pod_name(context["ti"].try_number)
        request = self._request(name, context, runtime)
        self.check_image(request.image, runtime)
        pod = build(request, self.relax)
        pod.spec.security_context.run_as_user = self.user_id
        if runtime.is_cluster:  # this machine has neither accounts nor a registry
            secrets = [
                k8s.V1LocalObjectReference(name=image_pull_secret) for image_pull_secret in self.image_pull_secrets
            ]
            pod.spec.service_account_name, pod.spec.image_pull_secrets = self.service_account, secrets or None
        return runtime.place(pod, self.gpus_for(changed))

    def argv(self) -> Sequence[str]:
        """What the pod runs, once its templates are rendered.

        Raises:
            InvalidInputError: a template has become what it may not be.
        """
        return [str(word) for word in self.command]

    def variables(self, context: Context, control: Control) -> dict[str, str]:
        """Variables that the pod has besides its author's.

        Args:
            control: the control plane.
        """
        return {}

    def _starter(self, torchrun: bool) -> Sequence[str]:
        """What starts the ranks of a distributed job."""
        if self.gang is None:
            return ()
        if self.restarts:
            return training.launcher(self.gang, self.restarts)
        return TORCHRUN if torchrun else ()

    def _request(self, name: str, context: Context, runtime: AirflowRuntime) -> PodRequest:
        control = BulkheadHook(self.bulkhead_conn_id).control()
        changed = changes_for(self, context)
        variables = training.environment(self.checkpoint, self.resume_mode, identity(context), name)
        variables |= self.variables(context, control)
        if changed.resume_from:
            variables[RESUME_VARIABLE] = changed.resume_from
        claims = self.claims or (training.claims(self.checkpoint) if not runtime.is_cluster else {})
        training.check_kept(self.checkpoint, dict.fromkeys(claims, True), "claims")
        ours = {**variables, "MLFLOW_TRACKING_URI": control.settings.mlflow_tracking_uri}
        credentials = {name: SecretRef(*there) for name, there in runtime.credentials(control).items()}
        return PodRequest(
            name=name,
            image=self.image or control.settings.tasks_image,
            command=self.argv(),
            cpu=self.cpu,
            memory=scale(self.memory, changed.memory_factor),
            # The author's own take our places; what the author gives twice, plain and from a Secret, is refused.
            env={**_without(ours, self.secret_env), **self.env},
            secret_env={**_without(credentials, self.env), **self.secret_env},
            labels={**identity(context).labels(), **({QUEUE: self.kueue_queue} if self.kueue_queue else {})},
            claims=claims,
            deadline_s=int(self.deadline.total_seconds()),
            namespace=runtime.namespace(self.namespace),
        )


def _without(variables: Mapping[str, Value], others: Container[str]) -> dict[str, Value]:
    return {name: value for name, value in variables.items() if name not in others}


def _references(secrets: Mapping[str, str]) -> dict[str, SecretRef]:
    arguments.named_texts("secrets", secrets)
    references = {}
    for variable, there in secrets.items():
        name, _, key = there.partition("/")
        if not name or not key or "/" in key:
            raise InvalidInputError(f"secrets[{variable}]", there, "give 'secret/key': its name and one of its keys")
        references[variable] = SecretRef(name, key)
    return references
