"""Diagnostics: what a device that was repaired has to pass before it works again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernetes import client as k8s

from bulkhead import arguments
from bulkhead.errors import InvalidInputError, NotFoundError, UnsupportedError
from bulkhead.gpu_tasks.diagnose import LEVELS, NODE_VARIABLE
from bulkhead.operators.ends import PlainFailure
from bulkhead.operators.hooks import BulkheadHook
from bulkhead.operators.pod import PodOperator
from bulkhead.operators.runtimes import AirflowRuntime
from bulkhead.operators.templates import check_known
from bulkhead.pods.gpu import bind
from bulkhead.pods.gpu_request import GpuRequest
from bulkhead.pods.policy import Changes
from bulkhead.runtimes.kubernetes.nodes import TAINT

if TYPE_CHECKING:
    from airflow.sdk import Context

_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


class GpuDiagnosticOperator(PodOperator):
    """Tests GPUs in a pod; what has passed may leave its quarantine.

    Args:
        level: ``quick`` (under 15 s a device), ``medium`` (2 minutes) or ``long`` (15 minutes).
        node: on Kubernetes: whose GPUs; it may be in quarantine. By default wherever the pod lands.
        target: device or node in quarantine that this is for; by default the node, and every device that is tested.
        experiment: MLflow experiment; empty for none.
        kwargs: of ``PodOperator``, without ``command``; ``gpus`` says how many to test.

    Raises:
        InvalidInputError: an argument is out of range.
    """

    template_fields: Sequence[str] = (*PodOperator.template_fields, "node", "target")

    def __init__(
        self,
        *,
        level: str = "quick",
        node: str | None = None,
        target: str | None = None,
        experiment: str = "",
        **kwargs: Any,
    ) -> None:
        arguments.choice("level", level, LEVELS)
        if not isinstance(experiment, str):
            raise InvalidInputError("experiment", experiment, "give a text; empty for none")
        for name, value in (("node", node), ("target", target)):
            if value is not None:
                check_known(arguments.text, name, value)
        command = ["python", "-m", "bulkhead.gpu_tasks.diagnose", "--level", level]
        super().__init__(command=[*command, "--experiment", experiment] if experiment else command, **kwargs)
        self.node, self.target = node, target or node

    def pod_of(self, context: Context, runtime: AirflowRuntime) -> k8s.V1Pod:
        """The pod, on the node that is to be tested, whatever keeps others away."""
        if self.node and not runtime.is_cluster:
            raise UnsupportedError("node", self.node, "the local runtime has one machine; leave it out")
        pod = super().pod_of(context, runtime)
        if runtime.is_cluster:
            field = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="spec.nodeName"))
            container = pod.spec.containers[0]
            container.env = [*(container.env or []), k8s.V1EnvVar(name=NODE_VARIABLE, value_from=field)]
        if self.node:
            bind(pod, self.node)
            keys = (TAINT, _UNSCHEDULABLE)
            tolerations = [k8s.V1Toleration(key=key, operator="Exists", effect="NoSchedule") for key in keys]
            pod.spec.tolerations = [*(pod.spec.tolerations or []), *tolerations]
        return pod

    def gpus_for(self, changed: Changes) -> GpuRequest:
        """See ``LaunchOperator``; a node that is to be tested is not avoided."""
        return self.gpu_request if self.node else super().gpus_for(changed)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Read how the pod ended, and tell the ledger of what has passed.

        Returns:
            The result of its outcome, see ``bulkhead.gpu_tasks.diagnose``.

        Raises:
            AirflowFailException: something has not passed; the text says what.
        """
        result: dict[str, Any] = super().resume(context, event)
        return self._report(result)

    def _report(self, result: dict[str, Any]) -> dict[str, Any]:
        """Tell the ledger of what has passed, and fail the task otherwise."""
        if not result["passed"]:
            wrong = "; ".join(f"{device}: {', '.join(checks)}" for device, checks in result["wrong"].items())
            raise PlainFailure(
                f"The {result['level']} diagnostic of {result['node']} has not passed: {wrong}. What is in quarantine "
                f"stays there ('bulkhead fleet' shows it). Next: have the node repaired, and test it again."
            )
        quarantines = BulkheadHook(self.bulkhead_conn_id).control().ledger.quarantines
        held = {row.target for row in quarantines.held()}
        tested = {self.target, *(check["uuid"] for check in result["devices"])}
        for target in sorted(held & tested):
            try:
                quarantines.passed(target, f"{result['level']} diagnostic, MLflow run {result['run_id'] or '(none)'}")
            except NotFoundError:  # released meanwhile: there is nothing left to tell
                continue
        return result
