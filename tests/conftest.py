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


_MOST_WORKERS = 8


def pytest_xdist_auto_num_workers() -> int:
    """Two a core: most of a test's time is spent waiting for other processes."""
    return min(_MOST_WORKERS, 2 * (os.cpu_count() or 1))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that share one demo, with its Airflow, run one after the other in one worker."""
    if "kept" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.xdist_group("demo"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left alone with them at the end."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("xdist_group"):
        return 0
    return 1 if item.get_closest_marker("faults") or item.get_closest_marker("e2e") else 2


def pytest_configure(config: pytest.Config) -> None:
    home = tempfile.TemporaryDirectory(prefix="airflow-home-")
    config.add_cleanup(home.cleanup)
    os.environ["AIRFLOW_HOME"] = home.name
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
