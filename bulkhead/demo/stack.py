"""Everything the demo starts: MLflow, Airflow, Envoy, the reconciler. On loopback, each with a login."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import yaml

from bulkhead import tracing
from bulkhead.backends import MLFLOW_SECRET
from bulkhead.control import Control
from bulkhead.demo.airflow_client import AirflowClient
from bulkhead.demo.processes import Processes
from bulkhead.demo.progress import Progress
from bulkhead.demo.story import SERVICE
from bulkhead.errors import UnavailableError
from bulkhead.settings import CONFIG_VARIABLE, ServicePorts, Settings

SERVICES = (SERVICE, "gpt")
"""All that stand ready: the others are for the examples that a person starts."""

AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
"""Airflow's components."""

_USER = "admin"


class LocalStack:
    """The demo's components.

    Args:
        folder: for everything; emptied first.
        dags: Airflow's DAGs folder.
    """

    def __init__(self, folder: Path, dags: Path) -> None:
        self.folder = folder
        self.processes = Processes(folder / "logs")
        ports = _free_ports(2 + 2 * len(SERVICES))
        self._dags, self._airflow_port = dags, ports[0]
        self._password = secrets.token_urlsafe(16)
        self.settings = Settings(
            home=folder / "home",
            mlflow_tracking_uri=f"http://127.0.0.1:{ports[1]}",
            simulated_gpus=8,
            services={
                name: ServicePorts(port=port, admin_port=admin_port)
                for name, port, admin_port in zip(SERVICES, ports[2::2], ports[3::2], strict=True)
            },
        )
        self.control = Control(self.settings)
        self.airflow = AirflowClient(f"http://127.0.0.1:{self._airflow_port}", _USER, self._password)

    @property
    def endpoint(self) -> str:
        """URL of the model endpoint."""
        return f"http://127.0.0.1:{self.settings.ports[SERVICE].port}/invocations"

    @property
    def login(self) -> str:
        """User and password of both web interfaces."""
        return f"{_USER} / {self._password}"

    def prepare(self) -> None:
        """Stop what an earlier demo left, empty the folder, write the configuration."""
        stop_left_over(self.folder)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        (self.folder / "logs").mkdir(mode=0o700, parents=True)
        self.folder.chmod(0o700)
        self._temporary.mkdir(mode=0o700)
        _write_private(self._config, yaml.safe_dump(json.loads(self.settings.model_dump_json())))
        self.control.runtime.write_secret(MLFLOW_SECRET, {"username": _USER, "password": self._password})
        self.control.load_credentials()

    def bring_up(self, progress: Progress) -> None:
        """Start everything; Airflow is then on its way: ``airflow.healthy`` tells when it is there.

        Args:
            progress: says what is waited for.
        """
        self.start_mlflow()
        self.start_router()
        self.migrate_airflow()
        progress.wait("Envoy", self.router_answers)
        progress.wait("MLflow", self.mlflow_answers)
        progress.wait("Airflow's database", lambda: self.processes.finished("airflow-migrate"))
        self.start_airflow()
        self.start_reconciler()

    def start_mlflow(self) -> None:
        """Start the MLflow server, with its own login."""
        home = self.folder / "mlflow"
        home.mkdir(mode=0o700)
        _write_private(home / "auth.ini", _MLFLOW_AUTH.format(home=home, user=_USER, password=self._password))
        environment = {
            **self._base_environment(),
            "MLFLOW_AUTH_CONFIG_PATH": str(home / "auth.ini"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        port = self.settings.mlflow_tracking_uri.rpartition(":")[2]
        command = ["mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", port]
        command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db"]
        command += ["--artifacts-destination", str(home / "artifacts"), "--workers", "1"]
        self.processes.start("mlflow", _program(command), environment)

    def start_router(self) -> None:
        """Start an Envoy for each service; ``router_answers`` tells when they serve."""
        for name in SERVICES:
            called = "envoy" if name == SERVICE else f"envoy-{name}"
            self.processes.start(called, _program(["bulkhead", "router", name]), self._bulkhead_environment())

    def start_reconciler(self, name: str = "reconciler") -> None:
        """Start a reconciler as a process of its own: it works whatever becomes of Airflow."""
        command = ["bulkhead", "reconcile", "--watch"]
        self.processes.start(name, _program(command), self._bulkhead_environment())

    def migrate_airflow(self) -> None:
        """Start the migration of Airflow's database; ``processes.finished`` tells when it is done."""
        home = self.folder / "airflow"
        home.mkdir(mode=0o700)
        _write_private(home / "passwords.json", json.dumps({_USER: self._password}))
        configuration = _AIRFLOW_CONFIG.format(
            jwt=secrets.token_urlsafe(48),
            key=secrets.token_urlsafe(32),
            fernet=base64.urlsafe_b64encode(os.urandom(32)).decode(),
            home=home,
            dags=self._dags,
            port=self._airflow_port,
            user=_USER,
        )
        _write_private(home / "airflow.cfg", configuration)
        self.processes.run("airflow-migrate", _program(["airflow", "db", "migrate"]), self.airflow_environment())

    def start_airflow(self, components: Iterable[str] = AIRFLOW) -> None:
        """Start Airflow.

        Args:
            components: which of its four.
        """
        for component in components:
            self.processes.start(f"airflow-{component}", _program(["airflow", component]), self.airflow_environment())

    def airflow_environment(self) -> Mapping[str, str]:
        """That Airflow's components run in."""
        connections = {
            "AIRFLOW_CONN_BULKHEAD_DEFAULT": {
                "conn_type": "bulkhead",
                "extra": {"home": str(self.settings.home), "mlflow_tracking_uri": self.settings.mlflow_tracking_uri},
            },
            "AIRFLOW_CONN_BULKHEAD_LOCAL_DEFAULT": {
                "conn_type": "bulkhead_local",
                "extra": {"root": str(self.settings.pods), "simulated_gpus": self.settings.simulated_gpus},
            },
        }
        return {
            **self._bulkhead_environment(),
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__TRACES__OTEL_ON": str(tracing.configured()),
            **{name: json.dumps(value) for name, value in connections.items()},
        }

    def mlflow_answers(self) -> bool | None:
        """True once MLflow answers; None before."""
        return _listens(int(self.settings.mlflow_tracking_uri.rpartition(":")[2]))

    def router_answers(self) -> bool | None:
        """True once every Envoy serves; None before."""
        return True if all(_listens(self.settings.ports[name].port) for name in SERVICES) else None

    def check(self) -> None:
        """See ``Stack``."""
        self.processes.check()

    def left_running(self) -> str:
        """See ``Stack``."""
        return f"""
Everything is left running (stop it with [b]make demo-stop[/b]):
  Airflow UI      {self.airflow.url}
  MLflow UI       {self.settings.mlflow_tracking_uri}
  login of both   {self.login}
  model endpoint  {self.endpoint}
  command line    BULKHEAD_CONFIG={self.folder}/config.yaml bulkhead status
"""

    def stop(self, report: Callable[[str], None]) -> None:
        """See ``Stack``: components, then pods."""
        self.processes.stop(report)
        _stop_pods(self.control)

    @property
    def _config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def _temporary(self) -> Path:
        """What Airflow, MLflow and the rest leave of their temporary files goes with the demo's folder."""
        return self.folder / "tmp"

    def _base_environment(self) -> dict[str, str]:
        binaries = str(Path(sys.executable).parent)
        keep = {name: os.environ[name] for name in ("HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        path = f"{binaries}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        return {**keep, "PATH": path, "TMPDIR": str(self._temporary), "PYTHONUNBUFFERED": "1"}

    def _bulkhead_environment(self) -> Mapping[str, str]:
        telemetry = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
        return {**self._base_environment(), **telemetry, CONFIG_VARIABLE: str(self._config)}


def stop_left_over(folder: Path) -> int:
    """Stop what an earlier demo left running in a folder.

    Returns:
        How many processes that were.
    """
    if not (folder / "logs").exists():
        return 0
    stopped = Processes(folder / "logs").stop_recorded()
    if (folder / "home").exists():
        _stop_pods(Control(Settings(home=folder / "home")))
    return stopped


def _stop_pods(control: Control) -> None:
    for metadata in list(control.runtime.list({})):
        try:
            control.runtime.terminate(metadata.name, metadata.namespace, reason="the demo stops", grace_s=3)
        except UnavailableError as error:
            print(f"warning: {error}", file=sys.stderr)


def _program(command: list[str]) -> list[str]:
    program = Path(sys.executable).parent / command[0]
    if not program.exists():
        raise UnavailableError(f"{program} is missing: install the extra 'bulkhead[demo]' into this environment")
    return [str(program), *command[1:]]


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def _listens(port: int) -> bool | None:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return True if probe.connect_ex(("127.0.0.1", port)) == 0 else None


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


_MLFLOW_AUTH = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{home}/auth.db
admin_username = {user}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 3600
auth_cache_max_size = 128
"""

_AIRFLOW_CONFIG = """\
[core]
dags_folder = {dags}
executor = LocalExecutor
parallelism = 4
load_examples = False
fernet_key = {fernet}
execution_api_server_url = http://127.0.0.1:{port}/execution/
simple_auth_manager_users = {user}:admin
simple_auth_manager_passwords_file = {home}/passwords.json

[database]
sql_alchemy_conn = sqlite:///{home}/airflow.db

[api]
host = 127.0.0.1
port = {port}
base_url = http://127.0.0.1:{port}
workers = 1
secret_key = {key}

[api_auth]
jwt_secret = {jwt}

[usage_data_collection]
enabled = False
"""
