"""An operator that runs a pod and waits for it without holding a worker slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bulkhead import arguments
from bulkhead.collector import LOCAL_ROOT
from bulkhead.errors import InvalidInputError, NotFoundError
from bulkhead.operators import training
from bulkhead.operators.ends import PlainError, refused
from bulkhead.operators.hooks import BulkheadHook, LocalRuntimeHook
from bulkhead.operators.identity import identity
from bulkhead.operators.launches import end, mark_gone, record
from bulkhead.operators.retry import changes_for, default_policy, extend_retries
from bulkhead.operators.templates import check_known
from bulkhead.operators.triggers.pod import LocalPodTrigger
from bulkhead.operators.wait_for_devices import WaitForDevicesMixin
from bulkhead.pods.exceptions import error
from bulkhead.pods.outcome import Failure, FailureClass
from bulkhead.pods.spec import RESUME_VARIABLE, PodRequest, SecretRef, build, check_claims, check_quantity, scale
from bulkhead.pods.status import PodPhase
from bulkhead.runtimes.local.runtime import LocalRuntime

if TYPE_CHECKING:
    from airflow.sdk import Context

_UNNAMED = Failure(failure_class=FailureClass.APPLICATION, kind="unknown", message="it failed and left no reason")


class LocalPodOperator(WaitForDevicesMixin):
    """Runs one pod on the local runtime, defers until it ends, returns the result of its outcome.

    A retry finds the pod of an earlier try: one that still runs is waited for, one that succeeded
    unwatched is used, one that failed is followed by a new one. A cleared task starts again.

    What a failure is followed by is decided by its class (``bulkhead.operators.retry.ContainmentRetryPolicy``, unless
    ``retry_policy`` says otherwise): the next try may have more memory, and is told in ``BULKHEAD_RESUME_FROM``
    which checkpoint to resume from.

    Args:
        command: argv of the container; templated.
        image: container image.
        gpus: whole GPUs.
        cpu: CPU limit as a Kubernetes quantity.
        memory: memory limit as a Kubernetes quantity.
        env: plain variables; templated.
        checkpoint: place for the checkpoints of all tasks, as the pod sees it: a folder, or a URL that fsspec knows
            (``s3://bucket/folder``); each task instance has its own below it, which the pod finds in
            ``BULKHEAD_CHECKPOINTS``; templated. None for none.
        resume: ``auto``: every try goes on from the newest checkpoint of its task instance, also after a clear;
            ``never``: each begins from zero.
        claims: PersistentVolumeClaims by the path at which they are mounted; where none is, one that all tasks share
            is mounted at ``checkpoint``.
        deadline: longest time that the pod may run.
        local_conn_id: connection of type ``bulkhead_local``.
        bulkhead_conn_id: connection of type ``bulkhead``: gives the pod MLflow's address and, by reference,
            its credentials.
        kwargs: of ``WaitForDevicesMixin`` and ``BaseOperator``.

    Raises:
        InvalidInputError: an argument is wrong.
    """

    template_fields: Sequence[str] = ("command", "env", "checkpoint")

    def __init__(
        self,
        *,
        command: Sequence[str],
        image: str = "bulkhead/gpu-tasks:0.1.0",
        gpus: int = 1,
        cpu: str | None = None,
        memory: str | None = None,
        env: Mapping[str, str] | None = None,
        checkpoint: str | None = None,
        resume: str = "auto",
        claims: Mapping[str, str] | None = None,
        deadline: timedelta = timedelta(hours=24),
        local_conn_id: str = LocalRuntimeHook.default_conn_name,
        bulkhead_conn_id: str = BulkheadHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        default_policy(kwargs)
        super().__init__(bulkhead_conn_id=bulkhead_conn_id, **kwargs)
        extend_retries(self)
        check_known(arguments.texts, "command", command, 1)
        check_known(arguments.named_texts, "env", env or {})
        arguments.text("image", image)
        arguments.whole("gpus", gpus, 0)
        check_quantity("cpu", cpu)
        check_quantity("memory", memory)
        check_claims("claims", claims or {})
        arguments.duration("deadline", deadline, 1)
        arguments.text("local_conn_id", local_conn_id)
        training.check(checkpoint, resume)
        self.command, self.image, self.gpus, self.cpu, self.memory = command, image, gpus, cpu, memory
        self.env = dict(env or {})
        self.checkpoint, self.resume_mode, self.claims = checkpoint, resume, dict(claims or {})
        self.deadline = deadline
        self.local_conn_id = local_conn_id
        self._launched: tuple[LocalRuntime, str] | None = None

    def launch(self, context: Context, event: Mapping[str, Any] | None = None) -> Any:
        """Launch the pod, or find it, and defer.

        Args:
            event: healthy devices that were waited for, or None.

        Returns:
            The outcome's result, where the pod had succeeded already.
        """
        runtime = LocalRuntimeHook(self.local_conn_id).runtime()
        name = self._own_pod(runtime, context)
        if name is None:
            name = identity(context).pod_name(context["ti"].try_number)
            try:
                pod = build(self._request(name, context))
            except InvalidInputError as wrong:
                raise refused(wrong) from wrong
            # What an earlier try, or one before a clear, left behind ends first: no pod runs twice at once.
            for before in record(self.bulkhead_conn_id, context, access(runtime), "default", name):
                end(self.bulkhead_conn_id, before)
            try:
                runtime.launch(pod)
            except InvalidInputError as wrong:
                raise refused(wrong) from wrong
            self.log.info("launched pod %s: %s", name, " ".join(self.command))
        self._launched = (runtime, name)
        if runtime.status(name).ended:
            return self.resume(context, {"name": name, "namespace": "default"})
        # The pod ends itself at its deadline; the trigger's own limit is there for a supervisor that is gone.
        limit = self.deadline + timedelta(minutes=5)
        self.defer(trigger=LocalPodTrigger(str(runtime.layout.root), name), method_name="resume", timeout=limit)
        return None

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read how the pod ended.

        Args:
            event: of the trigger: name and namespace of the pod.

        Returns:
            The result of its outcome.

        Raises:
            PodFailedError: it failed; a type for each class of failure.
            AirflowException: it is gone.
        """
        runtime = LocalRuntimeHook(self.local_conn_id).runtime()
        name = event["name"]
        try:
            status = runtime.status(name, event["namespace"])
        except NotFoundError as gone:
            raise PlainError(f"pod {name} is gone: it was deleted ({gone})") from gone
        self.log.info("log of pod %s:\n%s", name, runtime.read_log(name))
        mark_gone(self.bulkhead_conn_id, access(runtime), event["namespace"], name, "ended")
        if status.phase is PodPhase.SUCCEEDED:
            return dict(status.outcome.result)
        raise error(name, status.failure or _UNNAMED)

    def on_kill(self) -> None:
        """The task process was told to end: take the pod down."""
        if self._launched is not None:
            runtime, name = self._launched
            runtime.terminate(name, reason="its task was killed")

    def _own_pod(self, runtime: LocalRuntime, context: Context) -> str | None:
        """A pod of the same clear number that is worth waiting for, or that has succeeded."""
        for metadata in runtime.list(identity(context).labels()):
            status = runtime.status(metadata.name, metadata.namespace)
            if status.phase is not PodPhase.FAILED:
                self.log.info("found pod %s of an earlier try: %s", metadata.name, status.phase)
                return str(metadata.name)
        return None

    def _request(self, name: str, context: Context) -> PodRequest:
        control = BulkheadHook(self.bulkhead_conn_id).control()
        changed = changes_for(self, context)
        variables = training.environment(self.checkpoint, self.resume_mode, identity(context), name)
        if changed.resume_from:
            variables[RESUME_VARIABLE] = changed.resume_from
        claims = self.claims or training.claims(self.checkpoint)
        training.check_kept(self.checkpoint, dict.fromkeys(claims, True))
        secrets = control.backends.local_credentials()
        return PodRequest(
            name=name,
            image=self.image,
            command=[str(word) for word in self.command],
            gpus=self.gpus,
            cpu=self.cpu,
            memory=scale(self.memory, changed.memory_factor),
            env={**variables, "MLFLOW_TRACKING_URI": control.settings.mlflow_tracking_uri, **self.env},
            secret_env={variable: SecretRef(*reference) for variable, reference in secrets.items()},
            labels=identity(context).labels(),
            claims=claims,
            deadline_s=int(self.deadline.total_seconds()),
        )


def access(runtime: LocalRuntime) -> dict[str, str]:
    """How to reach a local runtime, as the ledger keeps it."""
    return {LOCAL_ROOT: str(runtime.layout.root)}
