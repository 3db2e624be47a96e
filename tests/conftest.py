"""Fixtures for every test, and an Airflow home of the session's own: importing Airflow writes to it."""

import os
import tempfile

import pytest

pytest_plugins = [
    "tests.fixtures.ledger",
    "tests.fixtures.runtime",
    "tests.fixtures.envoy",
    "tests.fixtures.mlflow",
    "tests.fixtures.airflow",
    "tests.fixtures.kubernetes",
    "tests.fixtures.gpu_pod",
    "tests.fixtures.cluster",
    "tests.fixtures.gateway",
    "tests.fixtures.serving",
    "tests.fixtures.prometheus",
]


def pytest_configure(config: pytest.Config) -> None:
    home = tempfile.TemporaryDirectory(prefix="airflow-home-")
    config.add_cleanup(home.cleanup)
    os.environ["AIRFLOW_HOME"] = home.name
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
