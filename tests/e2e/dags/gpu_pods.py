"""Pods on Kubernetes, to which the tests do harm. The cluster is the one that a file beside the DAGs leads to."""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG
from kubernetes import client as k8s

from bulkhead import GpuPodOperator

COMMON = {
    "namespace": "default",
    "image": "busybox:1.36",
    "cmds": ["sh", "-c"],
    "gpus": 0,
    "kubernetes_conn_id": None,
    "config_file": str(Path(__file__).with_name("kubeconfig")),
    "security_context": k8s.V1PodSecurityContext(run_as_user=65534),
    "termination_grace_period": 1,
    "retry_delay": timedelta(seconds=1),  # see faults.py
}
"""``run-s`` is for a cluster that plays the kubelet: how many seconds a pod runs there at most."""

SLEEP = {**COMMON, "arguments": ["sleep 600"], "labels": {"run-s": "600"}}

LABELS = k8s.V1DownwardAPIVolumeFile(path="labels", field_ref=k8s.V1ObjectFieldSelector(field_path="metadata.labels"))
OWN_LABELS = k8s.V1Volume(name="own", downward_api=k8s.V1DownwardAPIVolumeSource(items=[LABELS]))
"""The counter counts until somebody gives its pod a label ``end``: not by a clock, which does not wait for a test."""

with DAG("gpu_sleeper", schedule=None, is_paused_upon_creation=False):
    GpuPodOperator(task_id="sleep", **SLEEP)

with DAG("gpu_late", schedule=None, is_paused_upon_creation=False, dagrun_timeout=timedelta(hours=1)):
    GpuPodOperator(task_id="sleep", **SLEEP)

with DAG("gpu_counter", schedule=None, is_paused_upon_creation=False):
    GpuPodOperator(
        task_id="count",
        retries=1,
        **{
            **COMMON,
            "labels": {"run-s": "600"},
            "volumes": [OWN_LABELS],
            "volume_mounts": [k8s.V1VolumeMount(name="own", mount_path="/own", read_only=True)],
            "arguments": [
                "echo a line; until grep -q ^end= /own/labels; do sleep 0.2; done; "
                """printf '{"version": 1, "result": {"answer": 42}}' > "$BULKHEAD_TERMINATION_LOG" """
            ],
        },
    )
