"""One demo for all: run to its end by its own command, left running, and harmed afterwards."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkhead import settings
from bulkhead.control import Control
from bulkhead.demo.airflow_client import AirflowClient
from tests.waiting import until

ROOT = Path(__file__).parents[2]
BULKHEAD = str(Path(sys.executable).with_name("bulkhead"))


def left_running(folder: Path) -> list[str]:
    """Command lines of processes that have to do with a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:  # it ended between the listing and the reading
            continue
        if str(folder).encode() in words:
            found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


@dataclass(frozen=True)
class Kept:
    """A demo that was left running.

    Attributes: folder, output (all that it printed), document (its last line), airflow, mlflow_url, password, control.
    """

    folder: Path
    output: str
    document: dict[str, Any]
    airflow: AirflowClient
    mlflow_url: str
    password: str
    control: Control

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``bulkhead`` with the demo's configuration."""
        environment = {"PATH": "/usr/bin:/bin", settings.CONFIG_VARIABLE: str(self.folder / "config.yaml")}
        return subprocess.run(
            [BULKHEAD, *words], capture_output=True, text=True, env=environment, timeout=180, check=False
        )

    def components(self, name: str) -> list[int]:
        """Process ids of an Airflow component, everything in its session included."""
        recorded = json.loads((self.folder / "logs" / "processes.json").read_text())
        leaders = {one["pid"] for one in recorded if one["name"] == f"airflow-{name}"}
        return [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and _session(e) in leaders]

    def deferred(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Trigger a run and wait until its task is deferred."""
        until(lambda: self.airflow.has_dag(dag_id), f"DAG {dag_id}", 60)
        self.airflow.trigger(dag_id, run_id, {})
        self.task(dag_id, run_id, task_id, "deferred")

    def task(self, dag_id: str, run_id: str, task_id: str, state: str, limit_s: float = 60) -> None:
        """Wait for a state of a task."""
        until(lambda: self.airflow.task_states(dag_id, run_id)[task_id] == state, f"{task_id} to be {state}", limit_s)


def _session(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return -1


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    base = tmp_path_factory.mktemp("demo")
    folder, dags = base / "site", base / "dags"
    shutil.copytree(ROOT / "dags", dags)
    shutil.copytree(Path(__file__).parent / "dags", dags, dirs_exist_ok=True)
    command = [BULKHEAD, "demo", "--keep", "--folder", str(folder), "--dags", str(dags)]
    log = base / "output"
    try:
        with log.open("wb") as output:
            code = subprocess.run(command, stdout=output, stderr=output, timeout=420, check=False).returncode
        text = log.read_text()
        assert code == 0, text
        password = (folder / "home" / "pods" / "secrets" / "mlflow" / "password").read_text()
        urls = {name: re.search(rf"{name} UI +(\S+)", text)[1] for name in ("Airflow", "MLflow")}  # type: ignore[index]
        configured = settings.Settings.model_validate_json(json.dumps(_yaml(folder / "config.yaml")))
        airflow = AirflowClient(urls["Airflow"], "admin", password)
        document = json.loads(text.splitlines()[-1])
        yield Kept(folder, text, document, airflow, urls["MLflow"], password, Control(configured))
    finally:
        stopped = subprocess.run([BULKHEAD, "demo", "--stop", "--folder", str(folder)], check=True, timeout=120)
        assert stopped.returncode == 0
        until(lambda: not left_running(folder), "everything to end")


def _yaml(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text())
