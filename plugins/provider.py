"""Provider metadata: the connection types and their forms."""

from __future__ import annotations

from typing import Any

from bulkhead import __version__


def _text(label: str, description: str = "", **more: Any) -> dict[str, Any]:
    field = {"label": label, "schema": {"type": ["string", "null"], **more}}
    return {**field, "description": description} if description else field


def get_provider_info() -> dict[str, Any]:
    """What Airflow reads through the entry point ``apache_airflow_provider``."""
    return {
        "package-name": "bulkhead",
        "name": "Bulkhead",
        "description": "Failure containment for model pipelines on GPU pods.",
        "versions": [__version__],
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
                    "gpu_stand_ins": {
                        "label": "CPU stand-ins for GPUs",
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
