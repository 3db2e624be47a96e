"""One demo for all: run to its end by its own command, left running, and harmed afterwards."""

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from kubernetes import client as k8s

from benchmarks.launch import api_server, kubeconfig
from bulkhead import settings
from bulkhead.control import Control
from bulkhead.demo.airflow_client import AirflowClient
from bulkhead.demo.traffic import DemoTraffic
from bulkhead.pods.identity import matches, run_labels, run_owner
from bulkhead.runtimes.kubernetes.access import Access, client
from tests.collectors import TraceCollector
from tests.e2e.watching import Watcher
from tests.waiting import Found, until

ROOT = Path(__file__).parents[2]
BULKHEAD = str(Path(sys.executable).with_name("bulkhead"))

EXAMPLES = {"tumours_release": {}, "gpt_release": {"steps": 60}}
"""DAGs that users copy, each with the params of a short run."""


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

    Attributes: folder, output (all that it printed), document (its last line), airflow, mlflow_url, password, control,
    collector (of the traces of all of it), watcher (who has looked on in a browser).
    """

    folder: Path
    output: str
    document: dict[str, Any]
    airflow: AirflowClient
    mlflow_url: str
    password: str
    control: Control
    collector: TraceCollector
    watcher: Watcher

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``bulkhead`` with the demo's configuration."""
        environment = {"PATH": "/usr/bin:/bin", settings.CONFIG_VARIABLE: str(self.folder / "config.yaml")}
        return subprocess.run(
            [BULKHEAD, *words], capture_output=True, text=True, env=environment, timeout=600, check=False
        )

    def session_of_a_viewer(self, admins: str) -> str:
        """Airflow's token for somebody who may look at everything and change nothing: the demo has no such user.

        Args:
            admins: the administrator's token, whose claims are kept else.
        """
        configuration = configparser.RawConfigParser()
        configuration.read(self.folder / "airflow" / "airflow.cfg")
        claims, headers = jwt.decode(admins, options={"verify_signature": False}), jwt.get_unverified_header(admins)
        secret = configuration["api_auth"]["jwt_secret"]
        return jwt.encode({**claims, "sub": "eve", "role": "viewer"}, secret, headers["alg"], headers)

    def answer(self, dag_id: str, run_id: str, task_id: str, answer: str) -> None:
        """What a person answers to a task that asks."""
        task = f"{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        self.airflow.call("PATCH", f"/api/v2/dags/{task}", {"chosen_options": [answer], "params_input": {}})

    def components(self, name: str) -> list[int]:
        """Process ids of an Airflow component, everything in its session included."""
        recorded = json.loads((self.folder / "logs" / "processes.json").read_text())
        leaders = {one["pid"] for one in recorded if one["name"] == f"airflow-{name}"}
        return [int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit() and _session(e) in leaders]

    def start(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Trigger a run of a DAG, as soon as Airflow has it."""
        until(lambda: self.airflow.has_dag(dag_id), f"DAG {dag_id}")
        self.airflow.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
        self.airflow.trigger(dag_id, run_id, conf)

    def deferred(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Trigger a run and wait until its task is deferred."""
        self.start(dag_id, run_id, {})
        self.task(dag_id, run_id, task_id, "deferred")

    def task(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Wait for a state of a task."""
        in_state = lambda: self.airflow.task_states(dag_id, run_id)[task_id] == state  # noqa: E731
        self.until(dag_id, run_id, in_state, f"{task_id} to be {state}")

    def until(self, dag_id: str, run_id: str, poll: Callable[[], Found | None], what: str) -> Found:
        """As ``tests.waiting.until``; what does not come is told with what Airflow has said of the run."""
        try:
            return until(poll, what)
        except AssertionError as error:
            error.add_note(f"the run's tasks: {self.airflow.task_states(dag_id, run_id)}")
            error.add_note(self._said(run_id))
            raise

    def _said(self, run_id: str) -> str:
        """What Airflow's processes have said of a run."""
        logs = sorted((self.folder / "logs").glob("airflow-*.log"))
        return "\n".join(line for log in logs for line in log.read_text().splitlines() if run_id in line)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Kill an Airflow component by SIGKILL; start it again afterwards, as the demo had started it."""
        pids = self.components(name)
        leader = min(pids)
        environment = dict(
            word.split("=", 1) for word in Path(f"/proc/{leader}/environ").read_text().split("\0") if "=" in word
        )
        command = Path(f"/proc/{leader}/cmdline").read_text().split("\0")[:-1]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        try:
            yield
        finally:
            logs = self.folder / "logs"
            with (logs / f"airflow-{name}-again.log").open("ab") as log:
                again = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=logs
                )
            # The demo's own stop must end it too.
            record = logs / "processes.json"
            started = Path(f"/proc/{again.pid}/stat").read_text().rpartition(")")[2].split()[19]
            own = {"name": f"airflow-{name}", "pid": again.pid, "started": started}
            record.write_text(json.dumps([*json.loads(record.read_text()), own]))


def _session(entry: Path) -> int:
    """Session of a process; -1 for one that has ended, a zombie included (of what a test started again and killed)."""
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] == "Z" else int(fields[3])


@pytest.fixture(scope="session")
def cluster_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Path of a kubeconfig: KUBECONFIG's, else one that leads to an API server that plays the kubelet."""
    named = os.environ.get("KUBECONFIG")
    if named:
        yield named
        return
    with api_server(pending_s=0.5) as url:
        yield kubeconfig(url, str(tmp_path_factory.mktemp("cluster")))


class Pods:
    """The pods of a run that are there. ``pods(run_id)``: their names; of every run for an empty one.

    Attributes: core (of the cluster).
    """

    def __init__(self, config: str) -> None:
        self.core = k8s.CoreV1Api(client(Access(config_file=config), {}))

    def __call__(self, run_id: str) -> list[str]:
        found = self.core.list_namespaced_pod("default", label_selector="bulkhead.dev/managed=true").items
        return sorted(
            pod.metadata.name
            for pod in found
            if not run_id or any(self._of(pod, dag, run_id) for dag in ("gpu_sleeper", "gpu_counter", "gpu_late"))
        )

    def end(self, name: str) -> None:
        """Let a pod of ``gpu_counter`` come to its end."""
        self.core.patch_namespaced_pod(name, "default", {"metadata": {"labels": {"end": "now"}}})

    def ended(self, name: str) -> bool:
        """Whether a pod has ended."""
        return self.core.read_namespaced_pod(name, "default").status.phase in ("Succeeded", "Failed")

    def _of(self, pod: k8s.V1Pod, dag_id: str, run_id: str) -> bool:
        return matches(pod.metadata.labels, run_labels(run_owner(dag_id, run_id)))


@pytest.fixture
def pods(cluster_config: str) -> Pods:
    return Pods(cluster_config)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory, cluster_config: str) -> Iterator[Kept]:
    base = tmp_path_factory.mktemp("demo")
    folder, dags = base / "site", base / "dags"
    shutil.copytree(ROOT / "dags", dags)
    shutil.copytree(Path(__file__).parent / "dags", dags, dirs_exist_ok=True)
    shutil.copy(cluster_config, dags / "kubeconfig")
    _lay_down(dags / "tumours", folder)
    command = [BULKHEAD, "demo", "--keep", "--folder", str(folder), "--dags", str(dags)]
    log, temporary, collector = base / "output", Path(tempfile.mkdtemp()), TraceCollector()
    try:
        with log.open("wb") as output:
            # A session of its own, as a person's has it: Linux shares the processor out among sessions, and in ours
            # all the other tests run.
            telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_EXPORTER": "otlp_proto_http"}
            environment = {**os.environ, **telemetry, "TMPDIR": str(temporary)}
            demo = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
        watcher = Watcher(folder)
        try:
            code: object = demo.wait(1700)
        except subprocess.TimeoutExpired as error:
            code = error
            demo.kill()
        finally:
            watcher.end()
        text = log.read_text()
        assert code == 0, text
        password = (folder / "home" / "pods" / "secrets" / "mlflow" / "password").read_text()
        urls = {name: re.search(rf"{name} UI +(\S+)", text)[1] for name in ("Airflow", "MLflow")}  # type: ignore[index]
        configured = settings.Settings.model_validate_json(json.dumps(_yaml(folder / "config.yaml")))
        airflow = AirflowClient(urls["Airflow"], "admin", password)
        document = json.loads(text.splitlines()[-1])
        yield Kept(folder, text, document, airflow, urls["MLflow"], password, Control(configured), collector, watcher)
    finally:
        stopped = subprocess.run([BULKHEAD, "demo", "--stop", "--folder", str(folder)], check=True, timeout=600)
        assert stopped.returncode == 0
        until(lambda: not left_running(folder), "everything to end")
        collector.close()
        left = [str(path) for path in temporary.rglob("*")]
        shutil.rmtree(temporary)
        assert not left


@pytest.fixture
def clients(kept: Kept) -> Iterator[None]:
    """Somebody asks twenty times a second."""
    traffic = DemoTraffic(f"http://127.0.0.1:{kept.control.settings.ports['digits'].port}/invocations", 20)
    traffic.start()
    yield
    traffic.stop()


@pytest.fixture(scope="session")
def examples_begun(kept: Kept) -> None:
    """The examples' first runs have begun, side by side (tests/e2e/test_examples.py): others use the time."""
    for dag_id, conf in EXAMPLES.items():
        kept.start(dag_id, "first", conf)


def _lay_down(project: Path, folder: Path) -> None:
    """What ``bulkhead new`` makes, for a demo's folder; in place of ``pip install -e .`` its pods are told of it."""
    subprocess.run([BULKHEAD, "new", str(project)], check=True, capture_output=True)
    shutil.rmtree(project / "tests")
    inside = os.path.relpath(project, folder / "home" / "pods" / "pods" / "default.pod")
    dag = project / "dags" / f"{project.name}_release.py"
    own = dag.read_text().replace("gpus=0,", f"gpus=0,\n        env={{'PYTHONPATH': {inside!r}}},")
    checks = f'str(Path(__file__).parents[1] / "{project.name}" / "checks.json")'
    assert checks in own
    dag.write_text(own.replace(checks, repr(f"{inside}/{project.name}/checks.json")))


def _yaml(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text())
