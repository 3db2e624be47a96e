"""The listener: what it leaves alone, that it does not block, and what its process has to load for it."""

import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bulkhead.plugins import endings, listener
from tests.waiting import until


def _ti() -> SimpleNamespace:
    return SimpleNamespace(dag_id="release", run_id="run", task_id="train", map_index=-1)


HOOKS = [listener.on_task_instance_failed, listener.on_task_instance_success, listener.on_task_instance_skipped]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_task_that_ended_by_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch, hook: Callable[..., None]) -> None:
    seen: list[object] = []
    monkeypatch.setattr(listener, "_in_background", lambda *arguments: seen.append(arguments))
    hook("running", _ti())
    assert seen == []
    hook(None, _ti())
    assert seen == [("end_task", "release", "run", "train", -1)]


@pytest.mark.parametrize("hook", [listener.on_dag_run_failed, listener.on_dag_run_success])
def test_the_hooks_do_not_block(monkeypatch: pytest.MonkeyPatch, hook: Callable[..., None]) -> None:
    release, done = threading.Event(), []

    def slow(*arguments: str) -> None:
        assert release.wait(240)
        done.append(arguments)

    monkeypatch.setattr(endings, "end_run", slow)
    hook(SimpleNamespace(dag_id="release", run_id="run"), "")  # it came back although the work waits
    assert done == []
    release.set()
    until(lambda: done == [("release", "run")], "the work")


def test_the_plugin_loads_no_client_of_kubernetes() -> None:
    """Every process of Airflow's loads the plugin; the api-server reads the ledger as well."""
    asked = "import sys; import {modules}; print(sorted({{name.partition('.')[0] for name in sys.modules}}))"
    modules = "bulkhead.plugins.airflow_plugin, bulkhead.plugins.web_login, bulkhead.web.api"
    loaded = subprocess.check_output([sys.executable, "-c", asked.format(modules=modules)], text=True)
    assert "'airflow'" in loaded and "'kubernetes" not in loaded
