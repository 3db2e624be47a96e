"""What the demo makes in the cluster beside the chart, as documents."""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

import yaml

from bulkhead.demo.story import SERVICE

NAMESPACE = "bulkhead-demo"
"""Of the control plane, PostgreSQL, MLflow, Airflow and the clients."""

SERVING = "bulkhead-demo-serving"
"""Of training, of the models' servers and of their Envoys."""


@dataclass(frozen=True)
class DemoImages:
    """Where the cluster finds its images.

    Attributes:
        prefix: before ``control``, ``tasks``, ``airflow`` and ``router``: ``registry.example/bulkhead-``.
        tag: of these four.
        postgres: PostgreSQL's official image, or one that takes the same variables.
    """

    prefix: str
    tag: str
    postgres: str

    def name(self, which: str) -> str:
        """One of the four, with its tag."""
        return f"{self.prefix}{which}:{self.tag}"

    def values(self, which: str) -> dict[str, str]:
        """One of the four, as the chart wants it."""
        return {"repository": f"{self.prefix}{which}", "tag": self.tag}


@dataclass(frozen=True)
class DemoKeys:
    """What the demo's parts know each other by, another one each time.

    Attributes:
        password: of the user ``admin`` of Airflow and MLflow.
        database_password: of PostgreSQL.
        router_token: by which the control plane asks the Envoys.
        fernet_key: of Airflow, as its ``api_key`` and ``jwt_key``.
        mlflow_key: of MLflow's forms.
    """

    password: str
    database_password: str
    router_token: str
    fernet_key: str
    api_key: str
    jwt_key: str
    mlflow_key: str

    @classmethod
    def make(cls) -> DemoKeys:
        """Random ones."""
        fernet = base64.urlsafe_b64encode(os.urandom(32)).decode()
        password, database, token, api, jwt, mlflow = (secrets.token_hex(24) for _ in range(6))
        return cls(password, database, token, fernet, api, jwt, mlflow)


def documents(images: DemoImages, keys: DemoKeys, rate: float) -> dict[str, dict[str, Any]]:
    """Everything but the namespaces and Airflow's DAGs.

    Args:
        keys: by which the parts know each other.
        rate: of the clients' requests, a second.

    Returns:
        By ``Kind namespace/name``, in the order of their making.
    """
    text = files(__package__).joinpath("manifests.yaml").read_text(encoding="utf-8")
    filled = Template(text).substitute(
        vars(keys),
        namespace=NAMESPACE,
        serving=SERVING,
        rate=rate,
        postgres_image=images.postgres,
        tasks_image=images.name("tasks"),
        airflow_image=images.name("airflow"),
    )
    return {_name(document): document for document in yaml.safe_load_all(filled)}


def values(images: DemoImages) -> dict[str, Any]:
    """Of the chart."""
    account = {"kind": "ServiceAccount", "name": "airflow", "namespace": NAMESPACE}
    service = {"namespace": SERVING, "envoy": {}, "mlflow_secret": "mlflow"}
    return {
        "image": images.values("control"),
        "ledger": {"secretName": "demo", "secretKey": "ledger-url"},
        "mlflow": {"trackingUri": f"http://mlflow.{NAMESPACE}:5000", "secretName": "mlflow"},
        "config": {"services": {SERVICE: service}},
        "tasks": {"image": images.values("tasks"), "namespaces": [SERVING], "subjects": [account]},
        "routers": {"image": images.values("router"), "tokenSecretName": "bulkhead-router"},
    }


def _name(document: dict[str, Any]) -> str:
    metadata = document["metadata"]
    return f"{document['kind']} {metadata['namespace']}/{metadata['name']}"
