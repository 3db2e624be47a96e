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
    "tests.fixtures.gateway",
    "tests.fixtures.serving",
    "tests.fixtures.prometheus",
]


_MOST_WORKERS = 8
_E2E = "tests/e2e/"
_SHARED = {
    "kept": ("demo", "faults", "releases", "without_airflow"),
    "site": ("taskflow", "fleet", "examples", "gpu_pods"),
}
"""Which of the end-to-end tests share what (tests/e2e/conftest.py), in their order: those that do harm come last."""
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
            if shared := _shares(nodeid):
                return shared
            return nodeid.partition("::")[0] if nodeid.startswith(_WHOLE) else nodeid

    return Shared(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left alone with them at the end."""
    items.sort(key=_rank)
    for item in items:
        if item.nodeid.startswith(_E2E):
            uses = next((name for name in _SHARED if name in getattr(item, "fixturenames", ())), None)
            assert uses == _shares(item.nodeid), f"{item.nodeid}: say in tests/conftest.py who shares what"


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


def _shares(nodeid: str) -> str | None:
    """What a test shares; None for nothing."""
    name = nodeid.removeprefix(f"{_E2E}test_").partition(".py")[0] if nodeid.startswith(_E2E) else ""
    return next((shared for shared, files in _SHARED.items() if name in files), None)


def _rank(item: pytest.Item) -> tuple[int, int]:
    """The longest waits first; within what is shared, the order of its files."""
    if shared := _shares(item.nodeid):
        name = item.nodeid.removeprefix(f"{_E2E}test_").partition(".py")[0]
        return 0, _SHARED[shared].index(name)
    return (1 if item.get_closest_marker("faults") or item.get_closest_marker("e2e") else 2), 0


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
