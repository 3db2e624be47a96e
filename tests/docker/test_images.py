"""The images: what they are made of always; whether they build and run where there is a builder and a base to pull."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
BUILDERS = {"buildah": [["--version"]], "podman": [["--version"]], "docker": [["buildx", "version"], ["info"]]}
"""By program, what it has to be able to: a docker client builds nothing by itself."""


def _builds(program: str) -> bool:
    probes = [[program, *words] for words in BUILDERS[program]] if shutil.which(program) else []
    return bool(probes) and not any(subprocess.run(probe, capture_output=True).returncode for probe in probes)


BUILDER = next(filter(_builds, BUILDERS), None)
ARGUMENTS = "BULKHEAD_IMAGE_ARGS"
"""Environment variable: arguments for the builder, for instance ``--build-arg PYTHON=`` and a base that is here."""

_AWAY = re.compile(
    r"(pinging container registry|no such host|connection refused|i/o timeout|network is unreachable)", re.I
)


def _pins(lock: str) -> dict[str, set[str]]:
    """Hashes by name and version of what a lock names."""
    text = (ROOT / lock).read_text()
    return {
        pin: set(re.findall(r"--hash=(\S+)", hashes))
        for pin, hashes in re.findall(r"^(\S+==\S+)[^\n]*((?:\n    --hash=[^\n]+)+)", text, re.MULTILINE)
    }


def test_bases_are_named_by_digest() -> None:
    bases = dict(re.findall(r"^ARG (\w+)=(\S+@sha256:[0-9a-f]{64})$", DOCKERFILE, re.MULTILINE))
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    known = {f"${{{name}}}" for name in bases} | {name for _, name in stages}
    assert len(bases) == 3 and {source for source, _ in stages} <= known
    assert {"control", "tasks", "airflow", "router"} <= {name for _, name in stages}


@pytest.mark.parametrize("lock", ["control.lock", "tasks.lock"])
def test_packages_are_those_of_the_projects_lock(lock: str) -> None:
    whole, pins = _pins("requirements.lock"), _pins(f"docker/{lock}")
    assert len(pins) > 30
    assert all(pins[pin] and pins[pin] <= whole.get(pin, set()) for pin in pins)


def test_the_control_plane_has_neither_airflow_nor_torch_but_can_ask_mlflow() -> None:
    names = {pin.partition("==")[0] for pin in _pins("docker/control.lock")}
    assert "mlflow-skinny" in names and not names & {"apache-airflow", "torch", "mlflow", "great-expectations"}
    tasks = {pin.partition("==")[0] for pin in _pins("docker/tasks.lock")}
    assert {"mlflow", "great-expectations"} <= tasks and not tasks & {"apache-airflow", "torch"}


def test_what_runs_has_no_name_and_no_rights() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users and all(re.fullmatch(r"[1-9]\d+:[1-9]\d+", user) for user in users)


def test_only_what_the_wheel_needs_is_sent_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*" and "!tests" not in lines and not [line for line in lines if "env" in line or "git" in line]


@pytest.mark.parametrize(
    ("answers", "found"), [((0, 0), "docker"), ((1, 0), ""), ((0, 1), "")], ids=["docker", "no buildx", "no daemon"]
)
def test_a_docker_client_alone_is_no_builder(tmp_path: Path, answers: tuple[int, int], found: str) -> None:
    """Nothing but this docker on the path: ``docker buildx version`` and ``docker info`` exit as they are told."""
    script = f'#!/bin/sh\necho here; case "$1" in buildx) exit {answers[0]};; *) exit {answers[1]};; esac\n'
    (tmp_path / "docker").write_text(script)
    (tmp_path / "docker").chmod(0o755)
    for program in ("bash", "sh", "make"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    command = ["make", "-s", "-f", str(ROOT / "Makefile"), "--eval", "which:\n\t@echo $(BUILDER)", "which"]
    environment = {"PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.strip() == found


# Built


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The control plane's image, as ``make images`` builds it."""
    if BUILDER is None:
        pytest.skip("IMAGES NOT BUILT: no buildah, no podman, no docker with buildx and a daemon is here")
    prefix = f"localhost/bulkhead-test-{os.getpid()}-"
    command = ["make", "-s", "images", "IMAGES=control", f"IMAGE_PREFIX={prefix}"]
    command.append(f"IMAGE_ARGS={os.environ.get(ARGUMENTS, '')}")
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    if built.returncode and _AWAY.search(built.stderr):
        pytest.skip(f"IMAGES NOT BUILT: the base cannot be pulled; name one that is here in {ARGUMENTS}")
    assert built.returncode == 0, built.stderr[-3000:]
    yield f"{prefix}control"
    remove = ["rmi", f"{prefix}control"] if BUILDER != "docker" else ["image", "rm", f"{prefix}control"]
    subprocess.run([BUILDER, *remove], check=True, capture_output=True, timeout=300)


def _run(image: str, *words: str) -> str:
    if BUILDER != "buildah":
        command = [str(BUILDER), "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--entrypoint", words[0], image]
        return subprocess.run([*command, *words[1:]], capture_output=True, text=True, check=True, timeout=300).stdout
    container = subprocess.check_output(["buildah", "from", image], text=True).strip()
    try:
        command = ["buildah", "run", container, "--", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    finally:
        subprocess.run(["buildah", "rm", container], check=True, capture_output=True, timeout=300)


def test_it_runs_as_nobody_in_particular_and_may_write_nothing_but_tmp(control: str) -> None:
    assert _run(control, "id", "-u").strip() == "65532"
    writable = _run(
        control, "sh", "-c", "find / -xdev -writable ! -path '/proc/*' ! -path '/dev/*' ! -type l 2>/dev/null; true"
    )
    assert [line for line in writable.split() if not line.startswith(("/tmp", "/var/tmp", "/run/lock"))] == []
    assert "reconcile" in _run(control, "bulkhead", "--help")


def test_it_has_what_it_needs_and_nothing_to_build_with(control: str) -> None:
    known = _run(
        control,
        "python",
        "-c",
        "import importlib.util as u, json; from mlflow import MlflowClient; import bulkhead.rollout.reconciler;"
        "print(json.dumps([name for name in ('airflow', 'torch', 'pip', 'setuptools') if u.find_spec(name)]))",
    )
    assert json.loads(known) == [] or json.loads(known) == ["pip", "setuptools"]  # of the base's own Python
    assert _run(control, "sh", "-c", "command -v gcc cc c++ make; true") == ""
    listed = json.loads(_run(control, "cat", "/opt/bulkhead/sbom.cdx.json"))
    assert {"bulkhead", "kubernetes", "mlflow-skinny"} <= {component["name"] for component in listed["components"]}
