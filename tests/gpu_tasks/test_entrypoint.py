"""A training of the user's own, called in the pod."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bulkhead.gpu_tasks import entrypoint
from bulkhead.gpu_tasks.entrypoint import call
from bulkhead.gpu_tasks.errors import ConfigError
from bulkhead.pods.outcome import FailureClass, Outcome

TEAM = "tests.gpu_tasks.test_entrypoint"


def trains(seed: int, rate: float = 0.1, layers: list[int] | None = None) -> dict[str, Any]:
    return {"model_uri": "models:/m-1", "seed": seed, "rate": rate, "layers": layers}


def untyped(seed, **more):
    return {"model_uri": "models:/m-1", "seed": seed, **more}


def unresolved(seed: "NoSuchType") -> str:  # type: ignore[name-defined]  # noqa: F821
    return f"models:/m-{seed}"


def returns_uri() -> str:
    return "models:/m-2"


def returns_info() -> object:
    return SimpleNamespace(model_uri="models:/m-3", flavors={})


def returns_nothing() -> None:
    return None


def returns_a_model() -> object:
    return SimpleNamespace(weights=[1])


def raises() -> None:
    raise ValueError("no such layer")


@pytest.mark.parametrize(
    ("name", "parameters", "result"),
    [
        ("trains", {"seed": 7}, {"seed": 7, "rate": 0.1, "layers": None}),
        ("trains", {"seed": "7", "rate": "1e-3", "layers": [1, "2"]}, {"seed": 7, "rate": 0.001, "layers": [1, 2]}),
        ("untyped", {"seed": "7", "other": 1}, {"seed": "7", "other": 1}),
    ],
)
def test_parameters_become_what_the_annotations_say(name: str, parameters: Any, result: Any) -> None:
    assert call(f"{TEAM}:{name}", parameters) == {"model_uri": "models:/m-1", **result}


def test_annotations_that_cannot_be_read_are_no_obstacle() -> None:
    assert call(f"{TEAM}:unresolved", {"seed": "7"}) == {"model_uri": "models:/m-7"}


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("returns_uri", {"model_uri": "models:/m-2"}),
        ("returns_info", {"model_uri": "models:/m-3"}),
        ("returns_nothing", {}),
    ],
)
def test_what_it_returns_is_the_result(name: str, result: dict[str, Any]) -> None:
    assert call(f"{TEAM}:{name}", {}) == result


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("trains", {}, r"parameters = none: .*:trains\(seed: int.*missing a required argument: 'seed'; give those it"),
        ("trains", {"seed": 1, "sead": 2}, r"parameters = seed, sead: .*unexpected keyword argument 'sead'"),
        ("trains", {"seed": "seven"}, r"parameters\[seed\] = 'seven': .*:trains says: Input should be a valid integer"),
        ("no_such", {}, r"entrypoint = '.*:no_such': module .* has no function no_such"),
        ("returns_a_model", {}, r"it returned a SimpleNamespace; let it return the URI of the model"),
    ],
)
def test_a_mistake_is_named(name: str, parameters: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(f"{TEAM}:{name}", parameters)


def test_a_module_that_does_not_import_is_named() -> None:
    with pytest.raises(ConfigError, match=r"entrypoint = 'no_team.train:main': cannot be imported in this pod"):
        call("no_team.train:main", {})


def test_its_own_errors_stay_its_own() -> None:
    with pytest.raises(ValueError, match="no such layer"):
        call(f"{TEAM}:raises", {})


@pytest.mark.parametrize(
    ("name", "parameters", "code", "failure"),
    [
        ("trains", {"seed": 1}, 0, None),
        ("trains", {"seed": "x"}, 1, FailureClass.CONFIG),
        ("raises", {}, 1, FailureClass.APPLICATION),
    ],
)
def test_the_program_leaves_an_outcome(
    tmp_path: Path, name: str, parameters: Any, code: int, failure: FailureClass | None
) -> None:
    log = tmp_path / "outcome"
    environment = {
        **os.environ,
        "BULKHEAD_TERMINATION_LOG": str(log),
        "BULKHEAD_PARAMETERS": json.dumps(parameters),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", entrypoint.__name__, f"{TEAM}:{name}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    outcome = Outcome.decode(log.read_text())
    assert outcome is not None and (outcome.failure and outcome.failure.failure_class) == failure
    assert failure is not None or outcome.result["model_uri"] == "models:/m-1"
