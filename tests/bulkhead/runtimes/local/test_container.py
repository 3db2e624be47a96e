"""What a container gets, and what it cannot do: real processes under their supervisors."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bulkhead.errors import (
    UnavailableError,
    UnsupportedError,
)
from bulkhead.pods.outcome import FailureClass
from bulkhead.pods.secret_ref import SecretRef
from bulkhead.pods.spec import PodRequest, build
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.runtimes.local.runtime import LocalRuntime
from tests.local_pods import alive, launch, logged, python, running

Run = Callable[..., PodStatus]

# What it gets


def test_a_pod_that_succeeds_gives_its_result(run_pod: Run) -> None:
    code = (
        "import os; open(os.environ['BULKHEAD_TERMINATION_LOG'], 'w').write('{\"version\": 1, \"result\": {\"a\": 1}}')"
    )
    status = run_pod(python(code))
    assert (status.phase, status.exit_code, status.outcome.result) == (PodPhase.SUCCEEDED, 0, {"a": 1})
    assert status.started_at is not None and status.finished_at is not None
    assert status.started_at <= status.finished_at


@pytest.mark.parametrize("code", [1, 3, 127])
def test_its_exit_code_is_kept(run_pod: Run, code: int) -> None:
    status = run_pod(python(f"raise SystemExit({code})"))
    assert (status.phase, status.exit_code) == (PodPhase.FAILED, code)


def test_a_signal_is_the_exit_code_that_a_shell_would_give(run_pod: Run) -> None:
    assert run_pod(python("import os; os.kill(os.getpid(), 9)")).exit_code == 137


def test_command_and_args_are_joined_and_never_seen_by_a_shell(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=["python", "-c", "import sys; print(sys.argv[1:])"]))
    pod.spec.containers[0].args = ["$HOME; true", "b c"]
    runtime.launch(pod)
    logged(runtime, "['$HOME; true', 'b c']")


def test_references_to_variables_are_expanded_as_kubernetes_does(run_pod: Run, runtime: LocalRuntime) -> None:
    env = {"RANK": "3", "WHO": "rank $(RANK)", "LATER": "$(NOT_YET)", "NOT_YET": "x"}
    words = ["import sys, os; print(sys.argv[1:], os.environ['LATER'])", "$(WHO)", "--n=$(RANK)", "$$(RANK)", "$(NONE)"]
    run_pod(["python", "-c", *words], env=env)
    assert "['rank 3', '--n=3', '$(RANK)', '$(NONE)'] $(NOT_YET)" in runtime.read_log("job")


def test_the_environment_is_the_specs_and_not_the_launchers(run_pod: Run, runtime: LocalRuntime, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    run_pod(python("import os; print(dict(os.environ))"), env={"SEED": "7"})
    log = runtime.read_log("job")
    assert "'SEED': '7'" in log
    assert "FERNET" not in log


def test_the_supervisor_does_not_keep_the_launchers_secrets_either(runtime: LocalRuntime, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    launch(runtime, python("import time; time.sleep(60)"))
    running(runtime)
    supervisor = int((runtime.layout.pods / "default.job" / "supervisor.lock").read_text())
    assert b"hunter2" not in Path(f"/proc/{supervisor}/environ").read_bytes()


def test_empty_dirs_are_writable_private_and_mapped(run_pod: Run, runtime: LocalRuntime) -> None:
    code = "import os; p = os.environ['CACHE']; open(p, 'w').write('x'); print(p)"
    assert run_pod(python(code), env={"CACHE": "/tmp/cache"}).phase is PodPhase.SUCCEEDED
    assert (runtime.layout.pods / "default.job" / "volumes" / "scratch-0" / "cache").read_text() == "x"


def test_a_claim_outlives_its_pods_and_is_one_folder_for_all(run_pod: Run, runtime: LocalRuntime) -> None:
    code = "import os; p = os.environ['KEPT']; print('before:', os.path.exists(p)); open(p, 'w').write('x')"
    for name, before in (("first", False), ("second", True)):
        status = run_pod(python(code), name=name, env={"KEPT": "/data/kept"}, claims={"/data": "team"})
        assert status.phase is PodPhase.SUCCEEDED
        assert f"before: {before}" in runtime.read_log(name)
        runtime.delete(name, reason="its end")
    assert (runtime.layout.claims / "team" / "kept").read_text() == "x"


def test_the_working_directory_is_kept(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=python("import os; print('in', os.getcwd())")))
    pod.spec.containers[0].working_dir = "/usr"
    runtime.launch(pod)
    logged(runtime, "in /usr\n")


def test_a_secret_reaches_the_process_and_nothing_else(run_pod: Run, runtime: LocalRuntime) -> None:
    runtime.write_secret("mlflow", {"password": "hunter2"})
    code = "import os, sys; sys.exit(os.environ['TOKEN'][::-1] != '2retnuh')"
    status = run_pod(python(code), secret_env={"TOKEN": SecretRef("mlflow", "password")})
    assert status.exit_code == 0
    folder = runtime.layout.pods / "default.job"
    assert not any(b"hunter2" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert (runtime.layout.secrets / "mlflow" / "password").stat().st_mode & 0o077 == 0


def test_output_and_errors_are_logged_in_order(run_pod: Run, runtime: LocalRuntime) -> None:
    run_pod(python("import sys; print('one'); print('two', file=sys.stderr); print('three')"))
    assert "one\ntwo\nthree\n" in runtime.read_log("job")


def test_a_failure_without_an_outcome_falls_back_to_the_end_of_the_log(run_pod: Run) -> None:
    status = run_pod(python("raise RuntimeError('lost the file')"))
    assert status.outcome.failure is not None
    assert "lost the file" in status.outcome.failure.evidence


# What it cannot do


def test_a_deadline_ends_it(run_pod: Run) -> None:
    status = run_pod(python("import time; time.sleep(60)"), deadline_s=1)
    assert (status.phase, status.reason) == (PodPhase.FAILED, "DeadlineExceeded")
    assert status.outcome.failure is not None and status.outcome.failure.failure_class is FailureClass.DEADLINE


def test_sigterm_comes_first_and_the_container_may_save(runtime: LocalRuntime) -> None:
    code = (
        "import signal, sys, time\n"
        "def save(*_): print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save); print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    launch(runtime, python(code))
    logged(runtime, "ready")
    runtime.terminate("job", reason="the test says so")
    status = runtime.status("job")
    assert "saved" in runtime.read_log("job")
    assert (status.reason, status.message) == ("Cancelled", "the test says so")


def test_sigkill_comes_after_the_grace_period_to_the_whole_group(runtime: LocalRuntime) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('child', child.pid, flush=True); time.sleep(60)"
    )
    launch(runtime, python(code))
    logged(runtime, "child ")
    child = int(runtime.read_log("job").split("child ")[1].split()[0])
    runtime.terminate("job", reason="stop", grace_s=0.2)
    assert runtime.status("job").exit_code == 137
    assert not alive(child)


def test_asking_again_neither_postpones_the_kill_nor_changes_the_reason(runtime: LocalRuntime) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    launch(runtime, python(code))
    logged(runtime, "ready")
    with pytest.raises(UnavailableError, match="has not ended"):
        runtime.terminate("job", reason="first", grace_s=30, timeout_s=0.2)
    runtime.terminate("job", reason="second", grace_s=0.2)
    assert (runtime.status("job").message, runtime.status("job").exit_code) == ("first", 137)


def test_a_daemon_that_left_its_group_does_not_outlive_the_pod(run_pod: Run, runtime: LocalRuntime) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True,\n"
        "    stdout=subprocess.DEVNULL)\n"
        "print('child', child.pid)"
    )
    assert run_pod(python(code)).phase is PodPhase.SUCCEEDED
    assert not alive(int(runtime.read_log("job").split("child ")[1].split()[0]))


def test_a_memory_limit_ends_it_or_makes_allocation_fail(run_pod: Run, runtime: LocalRuntime) -> None:
    code = "print('begin', flush=True); data = b'x' * (600 * 2**20); print('allocated')"
    status = run_pod(python(code), memory="200Mi")
    log = runtime.read_log("job")
    assert status.phase is PodPhase.FAILED and "allocated" not in log
    assert "limits: memory 200Mi" in log and "enforced by" in log
    assert status.reason == "OOMKilled" or "MemoryError" in log


def test_a_cpu_limit_is_enforced_and_said(run_pod: Run, runtime: LocalRuntime) -> None:
    run_pod(python("import os; print('cores', len(os.sched_getaffinity(0)))"), cpu="1")
    log = runtime.read_log("job")
    assert "cpu 1: enforced by" in log
    assert "cgroup" in log.split("enforced by")[1].split("\n")[0] or "cores 1" in log


def test_a_program_that_does_not_exist(run_pod: Run) -> None:
    failure = run_pod(["no-such-program"]).outcome.failure
    assert failure is not None and failure.failure_class is FailureClass.CONFIG
    assert "cannot start 'no-such-program'" in failure.message


def test_a_secret_that_does_not_exist_is_named_with_the_remedy(run_pod: Run) -> None:
    failure = run_pod(["true"], secret_env={"TOKEN": SecretRef("absent", "key")}).outcome.failure
    assert failure is not None and failure.failure_class is FailureClass.CONFIG
    assert "env TOKEN: no secret 'absent' with key 'key': write it to" in failure.message


def test_what_is_not_supported_is_refused_before_anything_starts(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=["true"]))
    pod.spec.host_network = True
    with pytest.raises(UnsupportedError, match=r"pod\.spec\.hostNetwork"):
        runtime.launch(pod)
    assert list(runtime.list({})) == [] and not runtime.layout.root.exists()
