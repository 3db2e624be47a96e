"""Fixtures for every test, and an Airflow home of the session's own: importing Airflow writes to it."""

import gc
import multiprocessing.util
import os
import tempfile
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is no finding of a property's: no test of this project fails by the clock.
settings.register_profile("bulkhead", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bulkhead")

pytest_plugins = [
    "tests.fixtures.busy",
    "tests.fixtures.ledger",
    "tests.fixtures.runtime",
    "tests.fixtures.envoy",
    "tests.fixtures.mlflow",
    "tests.fixtures.airflow",
    "tests.fixtures.kubernetes",
    "tests.fixtures.gpu_pod",
    "tests.fixtures.cluster",
    "tests.fixtures.chart",
    "tests.fixtures.small_cluster",
    "tests.fixtures.router_pods",
    "tests.fixtures.gateway",
    "tests.fixtures.serving",
    "tests.fixtures.prometheus",
]


_MOST_WORKERS = 8
_E2E = "tests/e2e/"
_DEMO = ("demo", "control_room", "taskflow", "fleet", "releases", "examples", "gpu_pods", "faults", "without_airflow")
"""The end-to-end tests that share the demo, in order: the examples' runs go on meanwhile; who kills comes last."""
_WHOLE = ("tests/gpu_tasks/", "tests/packaging/")
"""Where all tests of a file share what was made for them: a trained model, an environment."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two a core: most of a test's time is spent waiting for other processes."""
    return min(_MOST_WORKERS, 2 * (os.cpu_count() or 1))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each test goes to whichever worker is free; those that share what takes long to make stay in one.

    (pytest-xdist 3.8 does this by a mark, ``xdist_group``, which has no effect with pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Shared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if _shares_demo(nodeid):
                return "demo"
            return nodeid.partition("::")[0] if nodeid.startswith(_WHOLE) else nodeid

    return Shared(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left alone with them at the end."""
    items.sort(key=_rank)
    for item in items:
        if item.nodeid.startswith(_E2E):
            uses = "kept" in getattr(item, "fixturenames", ())
            assert uses == _shares_demo(item.nodeid), f"{item.nodeid}: say in tests/conftest.py who shares the demo"


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """What a worker sends has to be UTF-8; tests of hostile text print halves of surrogate pairs."""
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    return type(value)(map(_encodable, value)) if isinstance(value, list | tuple) else value


def _e2e(nodeid: str) -> str:
    """What a file of end-to-end tests is about; empty for other files."""
    return nodeid.removeprefix(f"{_E2E}test_").partition(".py")[0] if nodeid.startswith(_E2E) else ""


def _shares_demo(nodeid: str) -> bool:
    return _e2e(nodeid) in _DEMO


def _rank(item: pytest.Item) -> int:
    name = _e2e(item.nodeid)
    if name in _DEMO:
        return _DEMO.index(name)
    return len(_DEMO) + (not (item.get_closest_marker("faults") or item.get_closest_marker("e2e")))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """What every test imports stays: the collector need not look through it again, nor a fork copy it for that."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # workers inherit what is set here
        _keep_temporary_files_together(config)
    home = tempfile.TemporaryDirectory(prefix="airflow-home-")
    config.add_cleanup(home.cleanup)
    os.environ["AIRFLOW_HOME"] = home.name
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


def _keep_temporary_files_together(config: pytest.Config) -> None:
    """What libraries leave in the temporary directory (torch, MLflow, killed processes) goes with the session.

    Only pytest's own ``tmp_path`` stays where it is looked for.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    multiprocessing.util.get_temp_dir()  # made now, outside: it is removed when this process ends, after ours
    together = tempfile.TemporaryDirectory(prefix="bulkhead-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(together.cleanup)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)  # a process may have several sessions, as mutmut's has
    patch.setenv("TMPDIR", together.name)
    patch.setattr(tempfile, "tempdir", together.name)
