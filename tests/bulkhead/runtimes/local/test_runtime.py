"""Real pods: processes with their supervisors."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kubernetes import client as k8s

from bulkhead.errors import (
    ConflictError,
    FencedError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from bulkhead.pods.identity import GENERATION
from bulkhead.pods.outcome import FailureClass
from bulkhead.pods.spec import PodRequest, SecretRef, build
from bulkhead.pods.status import Phase, PodStatus
from bulkhead.runtimes.local.runtime import LocalRuntime
from tests.ports import free_port
from tests.waiting import until

Run = Callable[..., PodStatus]


def _python(code: str) -> list[str]:
    return ["python", "-c", code]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _launch(runtime: LocalRuntime, command: list[str], name: str = "job", **more: object) -> k8s.V1Pod:
    pod = build(PodRequest(name=name, image="none", command=command, **more))  # type: ignore[arg-type]
    runtime.launch(pod)
    return pod


def _running(runtime: LocalRuntime, name: str = "job") -> PodStatus:
    def look() -> PodStatus | None:
        status = runtime.status(name)
        assert not status.ended, runtime.read_log(name)
        return status if status.phase is Phase.RUNNING else None

    return until(look, f"pod {name} to run")


def _logged(runtime: LocalRuntime, text: str, name: str = "job") -> None:
    until(lambda: text in runtime.read_log(name), f"{text!r} in the log of {name}")


# What a container gets


def test_a_pod_that_succeeds_gives_its_result(run_pod: Run) -> None:
    code = (
        "import os; open(os.environ['BULKHEAD_TERMINATION_LOG'], 'w').write('{\"version\": 1, \"result\": {\"a\": 1}}')"
    )
    status = run_pod(_python(code))
    assert (status.phase, status.exit_code, status.outcome.result) == (Phase.SUCCEEDED, 0, {"a": 1})
    assert status.started_at is not None and status.finished_at is not None
    assert status.started_at <= status.finished_at


@pytest.mark.parametrize("code", [1, 3, 127])
def test_its_exit_code_is_kept(run_pod: Run, code: int) -> None:
    status = run_pod(_python(f"raise SystemExit({code})"))
    assert (status.phase, status.exit_code) == (Phase.FAILED, code)


def test_a_signal_is_the_exit_code_that_a_shell_would_give(run_pod: Run) -> None:
    assert run_pod(_python("import os; os.kill(os.getpid(), 9)")).exit_code == 137


def test_command_and_args_are_joined_and_never_seen_by_a_shell(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=["python", "-c", "import sys; print(sys.argv[1:])"]))
    pod.spec.containers[0].args = ["$HOME; true", "b c"]
    runtime.launch(pod)
    _logged(runtime, "['$HOME; true', 'b c']")


def test_the_environment_is_the_specs_and_not_the_launchers(run_pod: Run, runtime: LocalRuntime, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    run_pod(_python("import os; print(dict(os.environ))"), env={"SEED": "7"})
    log = runtime.read_log("job")
    assert "'SEED': '7'" in log
    assert "FERNET" not in log


def test_the_supervisor_does_not_keep_the_launchers_secrets_either(runtime: LocalRuntime, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    _launch(runtime, _python("import time; time.sleep(60)"))
    _running(runtime)
    supervisor = int((runtime.layout.pods / "default.job" / "supervisor.lock").read_text())
    assert b"hunter2" not in Path(f"/proc/{supervisor}/environ").read_bytes()


def test_empty_dirs_are_writable_private_and_mapped(run_pod: Run, runtime: LocalRuntime) -> None:
    code = "import os; p = os.environ['CACHE']; open(p, 'w').write('x'); print(p)"
    assert run_pod(_python(code), env={"CACHE": "/tmp/cache"}).phase is Phase.SUCCEEDED
    assert (runtime.layout.pods / "default.job" / "volumes" / "scratch-0" / "cache").read_text() == "x"


def test_the_working_directory_is_kept(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=_python("import os; print('in', os.getcwd())")))
    pod.spec.containers[0].working_dir = "/usr"
    runtime.launch(pod)
    _logged(runtime, "in /usr\n")


def test_a_secret_reaches_the_process_and_nothing_else(run_pod: Run, runtime: LocalRuntime) -> None:
    runtime.write_secret("mlflow", {"password": "hunter2"})
    code = "import os, sys; sys.exit(os.environ['TOKEN'][::-1] != '2retnuh')"
    status = run_pod(_python(code), secret_env={"TOKEN": SecretRef("mlflow", "password")})
    assert status.exit_code == 0
    folder = runtime.layout.pods / "default.job"
    assert not any(b"hunter2" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert (runtime.layout.secrets / "mlflow" / "password").stat().st_mode & 0o077 == 0


def test_output_and_errors_are_logged_in_order(run_pod: Run, runtime: LocalRuntime) -> None:
    run_pod(_python("import sys; print('one'); print('two', file=sys.stderr); print('three')"))
    assert "one\ntwo\nthree\n" in runtime.read_log("job")


def test_a_failure_without_an_outcome_falls_back_to_the_end_of_the_log(run_pod: Run) -> None:
    status = run_pod(_python("raise RuntimeError('lost the file')"))
    assert status.outcome.failure is not None
    assert "lost the file" in status.outcome.failure.evidence


# What a container cannot do


def test_a_deadline_ends_it(run_pod: Run) -> None:
    status = run_pod(_python("import time; time.sleep(60)"), deadline_s=1)
    assert (status.phase, status.reason) == (Phase.FAILED, "DeadlineExceeded")
    assert status.outcome.failure is not None and status.outcome.failure.failure_class is FailureClass.DEADLINE


def test_sigterm_comes_first_and_the_container_may_save(runtime: LocalRuntime) -> None:
    code = (
        "import signal, sys, time\n"
        "def save(*_): print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save); print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    _launch(runtime, _python(code))
    _logged(runtime, "ready")
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
    _launch(runtime, _python(code))
    _logged(runtime, "child ")
    child = int(runtime.read_log("job").split("child ")[1].split()[0])
    runtime.terminate("job", reason="stop", grace_s=0.2)
    assert runtime.status("job").exit_code == 137
    assert not _alive(child)


def test_asking_again_neither_postpones_the_kill_nor_changes_the_reason(runtime: LocalRuntime) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    _launch(runtime, _python(code))
    _logged(runtime, "ready")
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
    assert run_pod(_python(code)).phase is Phase.SUCCEEDED
    assert not _alive(int(runtime.read_log("job").split("child ")[1].split()[0]))


def test_a_memory_limit_ends_it_or_makes_allocation_fail(run_pod: Run, runtime: LocalRuntime) -> None:
    code = "print('begin', flush=True); data = b'x' * (600 * 2**20); print('allocated')"
    status = run_pod(_python(code), memory="200Mi")
    log = runtime.read_log("job")
    assert status.phase is Phase.FAILED and "allocated" not in log
    assert "limits: memory 200Mi" in log and "enforced by" in log
    assert status.reason == "OOMKilled" or "MemoryError" in log


def test_a_cpu_limit_is_enforced_and_said(run_pod: Run, runtime: LocalRuntime) -> None:
    run_pod(_python("import os; print('cores', len(os.sched_getaffinity(0)))"), cpu="1")
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


# GPUs


def test_a_gpu_request_without_gpus_is_refused_before_anything_starts(tmp_path: Path) -> None:
    runtime = LocalRuntime(tmp_path / "none")
    with pytest.raises(InvalidInputError, match="gpu_stand_ins"):
        _launch(runtime, ["true"], gpus=1)
    assert list(runtime.list({})) == []


def test_pods_wait_for_a_free_gpu_and_take_it_when_its_holder_ends(runtime: LocalRuntime) -> None:
    sleeper = _python("import time; time.sleep(60)")
    _launch(runtime, sleeper, "first", gpus=2)
    _running(runtime, "first")
    _launch(runtime, sleeper, "second", gpus=1)
    waiting = until(lambda: s if (s := runtime.status("second")).reason else None, "the second pod to wait")
    assert (waiting.phase, waiting.reason) == (Phase.PENDING, "Unschedulable")
    runtime.terminate("first", reason="make room", grace_s=0)
    _running(runtime, "second")
    assert "devices: cpu-stand-in-0" in runtime.read_log("second")


def test_a_pod_that_waits_for_a_gpu_can_be_ended(runtime: LocalRuntime) -> None:
    _launch(runtime, _python("import time; time.sleep(60)"), "first", gpus=2)
    _running(runtime, "first")
    _launch(runtime, ["true"], "second", gpus=1)
    runtime.terminate("second", reason="not needed")
    assert runtime.status("second").reason == "Cancelled"


# Servers


def test_a_server_is_ready_when_its_probe_says_so(runtime: LocalRuntime) -> None:
    port = free_port()
    command = ["python", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    _launch(runtime, command, deadline_s=None, port=port, ready_path="/")
    until(lambda: runtime.status("job").ready, "the server to be ready")


def test_a_server_that_answers_with_an_error_is_not_ready(runtime: LocalRuntime) -> None:
    port = free_port()
    command = ["python", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    _launch(runtime, command, deadline_s=None, port=port, ready_path="/missing")
    _logged(runtime, "code 404")
    assert not runtime.status("job").ready


# Who holds a pod


def test_a_pod_outlives_the_process_that_launched_it_and_its_exit_code_is_kept(runtime: LocalRuntime) -> None:
    code = f"""
import os, signal
from bulkhead.pods.spec import PodRequest, build
from bulkhead.runtimes.local.runtime import LocalRuntime
command = ["python", "-c", "import time; time.sleep(1); raise SystemExit(7)"]
LocalRuntime({str(runtime.layout.root)!r}).launch(build(PodRequest(name="job", image="none", command=command)))
os.killpg(os.getpgid(0), signal.SIGKILL)
"""
    launcher = subprocess.run([sys.executable, "-c", code], start_new_session=True, check=False, timeout=60)
    assert launcher.returncode == -signal.SIGKILL
    status = until(lambda: s if (s := runtime.status("job")).ended else None, "the pod to end")
    assert status.exit_code == 7


def test_a_supervisor_that_is_killed_takes_its_container_along_and_the_pod_is_lost(runtime: LocalRuntime) -> None:
    _launch(runtime, _python("import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"))
    _logged(runtime, "pid ")
    container = int(runtime.read_log("job").split("pid ")[1].split()[0])
    os.kill(int((runtime.layout.pods / "default.job" / "supervisor.lock").read_text()), signal.SIGKILL)
    status = until(lambda: s if (s := runtime.status("job")).ended else None, "the loss to be noticed")
    assert status.reason == "NodeLost"
    assert status.outcome.failure is not None and status.outcome.failure.failure_class is FailureClass.NODE_LOST
    until(lambda: not _alive(container), "the container to end")


def test_how_a_pod_ended_is_not_lost_while_its_status_cannot_be_written(runtime: LocalRuntime) -> None:
    gate = runtime.layout.root / "gate"
    code = (
        f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\nraise SystemExit(7)"
    )
    _launch(runtime, _python(code))
    _running(runtime)
    away = runtime.layout.root / "status.away"
    runtime.layout.status.rename(away)
    runtime.layout.status.touch()  # a file where the folder was: writing fails as on a broken disk
    gate.touch()
    _logged(runtime, "status: cannot be written: ")
    runtime.layout.status.unlink()
    away.rename(runtime.layout.status)
    status = until(lambda: s if (s := runtime.status("job")).ended else None, "the status to be written")
    assert status.exit_code == 7


def test_a_log_on_a_full_disk_does_not_end_the_pod_and_the_status_says_so(runtime: LocalRuntime) -> None:
    gate = runtime.layout.root / "gate"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\nprint('x' * 1000)"
    _launch(runtime, _python(code))
    _running(runtime)
    log = runtime.layout.pods / "default.job" / "log"
    log.unlink()
    log.symlink_to("/dev/full")
    gate.touch()
    until(lambda: runtime.status("job").phase is Phase.SUCCEEDED, "the pod to succeed")
    kept = json.loads((runtime.layout.status / "default.job.json").read_text())
    lost, _, why = kept["logLost"].partition(" ")
    assert int(lost) >= 1001 and why == "bytes: No space left on device"


def test_launching_twice_adopts(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=_python("import time; time.sleep(60)"), labels={"a": "1"}))
    assert runtime.launch(pod) is True
    assert runtime.launch(pod) is False
    assert len(list(runtime.list({"a": "1"}))) == 1


def test_launching_a_pod_that_has_ended_does_not_run_it_again(run_pod: Run, runtime: LocalRuntime) -> None:
    command = _python("print('once')")
    run_pod(command)
    _launch(runtime, command)
    assert runtime.status("job").phase is Phase.SUCCEEDED
    assert runtime.read_log("job").count("once") == 1


def test_of_many_launchers_one_creates_it(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=_python("import time; time.sleep(60)")))
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(runtime.launch, [pod] * 8))
    assert sorted(created) == [False] * 7 + [True]
    _running(runtime)
    assert runtime.read_log("job").count("[bulkhead] devices") == 1


def test_the_name_of_another_owner_is_a_conflict(runtime: LocalRuntime) -> None:
    _launch(runtime, ["true"], labels={"owner": "a"})
    with pytest.raises(ConflictError, match="belongs to another owner"):
        _launch(runtime, ["true"], labels={"owner": "b"})


def test_a_pod_whose_creator_died_at_once_is_pending_and_the_next_launch_runs_it(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=["true"]))
    runtime.layout.make()
    folder = runtime.layout.pods / "default.job"
    folder.mkdir()
    (folder / "pod.json").write_text(json.dumps(k8s.ApiClient().sanitize_for_serialization(pod)))
    assert runtime.status("job").phase is Phase.PENDING
    assert runtime.launch(pod) is False
    until(lambda: runtime.status("job").ended, "the pod to end")


# Deleting


def test_deleting_ends_the_pod_and_its_record(runtime: LocalRuntime) -> None:
    _launch(runtime, _python("import time; time.sleep(60)"))
    _running(runtime)
    runtime.delete("job", reason="done", grace_s=0)
    runtime.delete("job", reason="done")
    with pytest.raises(NotFoundError, match="no pod 'job'"):
        runtime.status("job")


def test_a_deleter_that_died_half_way_leaves_a_pod_that_has_ended(run_pod: Run, runtime: LocalRuntime) -> None:
    run_pod(["true"])
    runtime.layout.status.joinpath("default.job.json").unlink()  # its first step
    until(lambda: runtime.status("job").ended, "the supervisor to go, and the pod to have ended")
    runtime.delete("job", reason="again")
    assert _launch(runtime, ["true"]) is not None
    until(lambda: runtime.status("job").phase is Phase.SUCCEEDED, "the new pod of that name to run")


def test_an_older_generation_cannot_delete_a_newer_pod(runtime: LocalRuntime) -> None:
    _launch(runtime, ["true"], annotations={GENERATION: "5"})
    with pytest.raises(FencedError, match="belongs to generation 5, the delete to 4"):
        runtime.delete("job", reason="zombie", generation=4)
    runtime.delete("job", reason="rightful", generation=5)


def test_ending_what_is_not_there_does_nothing(runtime: LocalRuntime) -> None:
    runtime.terminate("absent", reason="none")
    runtime.delete("absent", reason="none")


def test_negative_stand_ins_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="gpu_stand_ins = -1"):
        LocalRuntime(tmp_path, gpu_stand_ins=-1)


def test_logs_and_secrets_are_private(runtime: LocalRuntime) -> None:
    runtime.layout.make()
    assert runtime.layout.root.stat().st_mode & 0o077 == 0
