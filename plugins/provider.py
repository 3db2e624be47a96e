"""Provider metadata: what there is, the connection types and their forms, the section of the configuration."""

from __future__ import annotations

from typing import Any

from bulkhead import __version__


def _text(label: str, description: str = "", **more: Any) -> dict[str, Any]:
    field = {"label": label, "schema": {"type": ["string", "null"], **more}}
    return {**field, "description": description} if description else field


def _option(description: str, example: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": __version__,
        "type": kind,
        "example": example,
        "default": None,
        **more,
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [{"integration-name": "Bulkhead", "python-modules": list(names)}]


_CONFIG = {
    "bulkhead": {
        "description": "Where Bulkhead's parts are. What is not set here is taken from Bulkhead's own file.",
        "options": {
            "config_file": _option(
                "Path of Bulkhead's own file. By default BULKHEAD_CONFIG names it, else it is ~/.bulkhead/config.yaml.",
                "/etc/bulkhead/config.yaml",
            ),
            "home": _option("Folder of the local runtime's pods and of the routers' files.", "/var/lib/bulkhead"),
            "ledger_url": _option(
                "Of the ledger: SQLite or PostgreSQL.", "postgresql://user:password@host/database", sensitive=True
            ),
            "mlflow_tracking_uri": _option("Of MLflow.", "http://mlflow:5000"),
            "mlflow_ui_url": _option(
                "Of MLflow's UI, as a browser reaches it, for links on tasks. By default the tracking URI.",
                "https://mlflow.example.com",
            ),
            "mlflow_secret": _option(
                "Secret in the namespace of a task's pods that holds MLflow's username and password.", "mlflow"
            ),
            "tasks_image": _option(
                "Image with Bulkhead and torch, of tasks and servers that name none, and of what compares answers.",
                "registry.example/bulkhead-tasks@sha256:…",
            ),
            "runtime_conn_id": _option(
                "Connection of where tasks run their pods, unless they name another: of type Kubernetes or Bulkhead "
                "local runtime. By default the local runtime.",
                "kubernetes_default",
            ),
            "simulated_gpus": _option(
                "Simulated GPUs of the local runtime. 0: a GPU request on a machine without GPUs is an error.",
                "2",
                "integer",
            ),
        },
    },
}


def get_provider_info() -> dict[str, Any]:
    """What Airflow reads through the entry point ``apache_airflow_provider``."""
    return {
        "package-name": "bulkhead",
        "name": "Bulkhead",
        "description": "Failure containment for model pipelines on GPU pods.",
        "versions": [__version__],
        "integrations": [{"integration-name": "Bulkhead", "tags": ["service"]}],
        "operators": _modules(
            "bulkhead.operators.collect",
            "bulkhead.operators.deploy",
            "bulkhead.operators.diagnose",
            "bulkhead.operators.evaluate",
            "bulkhead.operators.fleet",
            "bulkhead.operators.gpu_pod",
            "bulkhead.operators.isolate",
            "bulkhead.operators.pod",
            "bulkhead.operators.promote",
            "bulkhead.operators.roll_back",
            "bulkhead.operators.task_decorator",
            "bulkhead.operators.train",
        ),
        "task-decorators": [{"name": "gpu_pod", "class-name": "bulkhead.operators.task_decorator.gpu_pod_task"}],
        "sensors": _modules("bulkhead.plugins.device_sensors", "bulkhead.plugins.sensors"),
        "hooks": _modules("bulkhead.operators.hooks"),
        "triggers": _modules(
            "bulkhead.operators.triggers.fleet",
            "bulkhead.operators.triggers.kubernetes_gang",
            "bulkhead.operators.triggers.kubernetes_pod",
            "bulkhead.operators.triggers.local_gang",
            "bulkhead.operators.triggers.local_pod",
            "bulkhead.operators.triggers.rollout",
            "bulkhead.operators.triggers.serving",
        ),
        "bundles": _modules("bulkhead.plugins.dag_bundle"),
        "extra-links": [
            "bulkhead.operators.links.EndpointLink",
            "bulkhead.operators.links.MlflowRunLink",
            "bulkhead.operators.links.ModelVersionLink",
            "bulkhead.operators.links.GateReportLink",
        ],
        "notifications": ["bulkhead.plugins.callbacks.IsolateNotifier", "bulkhead.plugins.callbacks.RollBackNotifier"],
        "config": _CONFIG,
        "connection-types": [
            {
                "connection-type": "bulkhead",
                "hook-class-name": "bulkhead.operators.hooks.BulkheadHook",
                "hook-name": "Bulkhead",
                "conn-fields": {
                    "home": _text(
                        "Home folder", "Of the local runtime and the router; default: the configuration file's"
                    ),
                    "mlflow_tracking_uri": _text("MLflow tracking URI"),
                    "mlflow_ui_url": _text("MLflow UI", "As a browser reaches it; default: the tracking URI"),
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["host", "schema", "login", "port", "extra"],
                    "relabeling": {"password": "Ledger URL"},
                    "placeholders": {"password": "postgresql://user:password@host/database"},
                },
            },
            {
                "connection-type": "bulkhead_local",
                "hook-class-name": "bulkhead.operators.hooks.LocalRuntimeHook",
                "hook-name": "Bulkhead local runtime",
                "conn-fields": {
                    "root": _text("Root folder", "Of the pods; default: 'pods' below the configuration's home"),
                    "simulated_gpus": {
                        "label": "Simulated GPUs",
                        "description": "0: a GPU request on a machine without GPUs is an error",
                        "schema": {"type": ["integer", "null"], "minimum": 0},
                    },
                },
                "ui-field-behaviour": {
                    "hidden-fields": ["host", "schema", "login", "password", "port", "extra"],
                },
            },
        ],
    }
