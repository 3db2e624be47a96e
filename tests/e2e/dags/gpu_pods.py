"""Pods on Kubernetes, to which the tests do harm. The cluster is the one that a file beside the DAGs leads to."""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG
from kubernetes.client import V1PodSecurityContext

from bulkhead import GpuPodOperator

COMMON = {
    "namespace": "default",
    "image": "busybox:1.36",
    "cmds": ["sh", "-c"],
    "gpus": 0,
    "kubernetes_conn_id": None,
    "config_file": str(Path(__file__).with_name("kubeconfig")),
    "security_context": V1PodSecurityContext(run_as_user=65534),
    "termination_grace_period": 1,
    "retry_delay": timedelta(seconds=1),  # see faults.py
}
"""``run-s`` is for a cluster that plays the kubelet: how many seconds a pod runs there."""

SLEEP = {**COMMON, "arguments": ["sleep 600"], "labels": {"run-s": "600"}}

with DAG("gpu_sleeper", schedule=None, is_paused_upon_creation=False):
    GpuPodOperator(task_id="sleep", **SLEEP)

with DAG("gpu_late", schedule=None, is_paused_upon_creation=False, dagrun_timeout=timedelta(seconds=8)):
    GpuPodOperator(task_id="sleep", **SLEEP)

with DAG("gpu_counter", schedule=None, is_paused_upon_creation=False):
    GpuPodOperator(
        task_id="count",
        retries=1,
        **{
            **COMMON,
            "labels": {"run-s": "12"},
            "arguments": [
                "echo a line; sleep 12; "
                """printf '{"version": 1, "result": {"answer": 42}}' > "$BULKHEAD_TERMINATION_LOG" """
            ],
        },
    )
