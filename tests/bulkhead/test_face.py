"""``from bulkhead import …``: what an author of DAGs needs, each name imported when it is first asked for."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import bulkhead
from tests.imports import imported, readme_dag

ROOT = Path(__file__).parents[2]
NEEDED = """TrainOperator EvaluateOperator DeployOperator PromoteOperator RollBackOperator IsolateOperator
GpuPodOperator PodOperator GpuDiagnosticOperator DeviceHealthSensor DeviceFaultSensor ServingSLOSensor
release rollback_on_deadline isolate_on_deadline Plan Relaxations ContainmentRetryPolicy"""


def test_every_name_is_there() -> None:
    assert set(NEEDED.split()) <= set(bulkhead.__all__)
    for name in bulkhead.__all__:
        assert getattr(bulkhead, name) is not None
    assert set(bulkhead.__all__) <= set(dir(bulkhead))


def test_a_name_is_the_object_of_its_module() -> None:
    assert bulkhead.DeployOperator is import_module("bulkhead.operators.deploy").DeployOperator


def test_type_checkers_are_told_the_same() -> None:
    stub = ast.parse((ROOT / "bulkhead" / "__init__.pyi").read_text())
    message = {
        f"{node.module}.{one.name}" for node in stub.body if isinstance(node, ast.ImportFrom) for one in node.names
    }
    assert message == {f"{module}.{name}" for name, module in bulkhead._WHERE.items()}


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'TrianOperator'.*TrainOperator"):
        bulkhead.TrianOperator  # noqa: B018


def test_without_airflow_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['airflow'] = None\nfrom bulkhead import Plan, Relaxations\nimport bulkhead\n"
    code += "try:\n    bulkhead.TrainOperator\nexcept ImportError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout == "bulkhead.TrainOperator needs Airflow: pip install 'bulkhead[airflow]'\n", done.stderr


def test_the_package_itself_imports_nothing_heavy() -> None:
    found = imported("import bulkhead")
    assert found & {"airflow", "torch", "mlflow", "kubernetes", "pydantic", "sqlalchemy"} == set()


def test_reading_the_dag_of_the_readme_takes_neither_torch_nor_mlflow_nor_great_expectations() -> None:
    found = imported(readme_dag())
    assert "airflow" in found
    assert found & {"torch", "mlflow", "great_expectations"} == set()
