"""The wheel in a fresh environment with Airflow, beside a project whose packages have the names of our folders."""

import json
import os
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.imports import readme_dag

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
PROJECT = {
    "dags/__init__.py": "",
    "dags/common.py": "TEAM = 'ml'",
    "plugins/__init__.py": "",
    "plugins/helper.py": "QUEUE = 'gpus'",
    "plugins/gpu_tasks/__init__.py": "",
    "plugins/gpu_tasks/job.py": "IMAGE = 'job:1'",
    "plugins/operators/__init__.py": "",
    "plugins/operators/my_op.py": """
        from airflow.sdk import BaseOperator

        class MyOp(BaseOperator):
            def execute(self, context):
                return self.task_id
        """,
    "dags/own.py": """
        from airflow.sdk import DAG
        from bulkhead.operators.deploy import DeployOperator
        from dags.common import TEAM
        from gpu_tasks.job import IMAGE
        from operators.my_op import MyOp
        from plugins.helper import QUEUE

        with DAG("own"):
            MyOp(task_id=f"{TEAM}-{QUEUE}-{IMAGE.partition(':')[0]}") >> DeployOperator(
                task_id="deploy", service="digits", model_name="digits", plan={"steps": [100]}
            )
        """,
}
"""A user's own project: file by path."""

_READ = """
import json, sys
from airflow.dag_processing.dagbag import BundleDagBag

bag = BundleDagBag(dag_folder=sys.argv[1], bundle_path=sys.argv[1], bundle_name="dags")
tasks = {name: {task.task_id: type(task).__module__ for task in dag.tasks} for name, dag in bag.dags.items()}
print("\\n" + json.dumps({"errors": bag.import_errors, "tasks": tasks}))
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    _done([UV, "build", "--quiet", "--out-dir", folder, ROOT])
    return folder


@pytest.fixture(scope="session")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and what the wheel asks for."""
    folder = tmp_path_factory.mktemp("env") / "env"
    _done([UV, "venv", "--quiet", "--python", sys.executable, folder])
    (wheel,) = built.glob("*.whl")
    install = [UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
    _done([*install, "--constraints", ROOT / "requirements.lock", f"{wheel}[airflow]"])
    return folder / "bin" / "python"


@pytest.fixture
def airflow(python: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a program of that environment on the project; its output."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    settings = {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(tmp_path),
    }
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **settings}

    def run(program: str, *arguments: str) -> str:
        return _done([python.with_name(program), *arguments], cwd=tmp_path, env=environment)

    return run


def _done(command: list[object], **more: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
    return str(done.stdout)


def _read(run: Callable[..., str], folder: Path) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What Airflow finds in a folder of DAGs: import errors by file, modules by DAG and task."""
    found = json.loads(run("python", "-c", _READ, str(folder)).splitlines()[-1])
    return found["errors"], found["tasks"]


def test_sdist_and_wheel_hold_one_package_with_every_module_of_ours(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "bulkhead").rglob("*.py")}
    for name in ("operators", "plugins", "gpu_tasks"):
        ours |= {f"bulkhead/{path.relative_to(ROOT)}" for path in (ROOT / name).rglob("*.py")}
    ours |= {f"bulkhead/dags/{path.name}" for path in (ROOT / "dags" / "control_plane").glob("*.py")}
    ours |= {f"bulkhead/web/static/{name}" for name in ("bulkhead.js", "standalone.js", "licences.txt")}
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert {name for name in packed if not name.startswith("bulkhead/")} == set()
    assert ours <= packed
    with tarfile.open(sdist) as opened:
        members = {name.partition("/")[2] for name in opened.getnames()}
        assert not [member for member in opened.getmembers() if member.issym() or member.islnk()]
    assert ours <= members
    assert not {"operators", "plugins", "gpu_tasks", "dags", "tests"} & {name.partition("/")[0] for name in members}


def test_it_stands_beside_packages_of_the_same_names(airflow: Callable[..., str], tmp_path: Path) -> None:
    errors, tasks = _read(airflow, tmp_path / "dags")
    assert errors == {}
    assert tasks == {"own": {"ml-gpus-job": "operators.my_op", "deploy": "bulkhead.operators.deploy"}}


def test_the_dag_of_the_readme_is_read(airflow: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "readme"
    folder.mkdir()
    (folder / "readme.py").write_text(readme_dag())
    errors, tasks = _read(airflow, folder)
    assert errors == {}
    assert list(tasks["release"]) == ["train", "evaluate", "deploy"]


def test_the_dags_of_the_control_plane_come_with_the_wheel(airflow: Callable[..., str], tmp_path: Path) -> None:
    folder = airflow(
        "python", "-c", "from bulkhead.plugins import dag_bundle as b; print(b.ControlPlaneDagBundle(name='b').path)"
    )
    errors, tasks = _read(airflow, Path(folder.splitlines()[-1]))
    assert errors == {}
    assert set(tasks) == {"bulkhead_collect", "bulkhead_fleet_health", "bulkhead_reconcile"}


def test_what_is_built_may_be_uploaded(built: Path) -> None:
    _done([sys.executable, "-m", "twine", "check", "--strict", *built.glob("bulkhead-*")])


def test_airflow_shows_the_provider_its_configuration_and_the_plugin(airflow: Callable[..., str]) -> None:
    provider = json.loads(airflow("airflow", "providers", "get", "bulkhead", "--output", "json"))
    assert provider[0]["Provider"] == "bulkhead"
    listed = airflow("airflow", "config", "list", "--section", "bulkhead", "--include-descriptions")
    assert "[bulkhead]" in listed and "mlflow_tracking_uri" in listed
    plugins = json.loads(airflow("airflow", "plugins", "--output", "json"))
    assert [plugin["name"] for plugin in plugins if "bulkhead" in plugin["source"]] == ["bulkhead"]
