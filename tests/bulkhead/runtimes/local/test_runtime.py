"""Who holds a pod, who gets a GPU, who may delete: real processes under their supervisors."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
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
)
from bulkhead.pods.identity import GENERATION
from bulkhead.pods.outcome import FailureClass
from bulkhead.pods.spec import PodRequest, build
from bulkhead.pods.status import PodPhase, PodStatus
from bulkhead.runtimes.local.runtime import LocalRuntime
from tests.local_pods import alive, launch, logged, python, running
from tests.ports import free_port
from tests.waiting import until

Run = Callable[..., PodStatus]

# GPUs


def test_a_gpu_request_without_gpus_is_refused_before_anything_starts(tmp_path: Path) -> None:
    runtime = LocalRuntime(tmp_path / "none")
    with pytest.raises(InvalidInputError, match="simulated_gpus"):
        launch(runtime, ["true"], gpus=1)
    assert list(runtime.list({})) == []


def test_pods_wait_for_a_free_gpu_and_take_it_when_its_holder_ends(runtime: LocalRuntime) -> None:
    sleeper = python("import time; time.sleep(60)")
    launch(runtime, sleeper, "first", gpus=2)
    running(runtime, "first")
    launch(runtime, sleeper, "second", gpus=1)
    waiting = until(lambda: s if (s := runtime.status("second")).reason else None, "the second pod to wait")
    assert (waiting.phase, waiting.reason) == (PodPhase.PENDING, "Unschedulable")
    runtime.terminate("first", reason="make room", grace_s=0)
    running(runtime, "second")
    assert "devices: simulated-gpu-0" in runtime.read_log("second")


def test_a_pod_that_waits_for_a_gpu_can_be_ended(runtime: LocalRuntime) -> None:
    launch(runtime, python("import time; time.sleep(60)"), "first", gpus=2)
    running(runtime, "first")
    launch(runtime, ["true"], "second", gpus=1)
    runtime.terminate("second", reason="not needed")
    assert runtime.status("second").reason == "Cancelled"


# Servers


def test_a_server_is_ready_when_its_probe_says_so(runtime: LocalRuntime) -> None:
    port = free_port()
    command = ["python", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    launch(runtime, command, deadline_s=None, port=port, ready_path="/")
    until(lambda: runtime.status("job").ready, "the server to be ready")


def test_a_server_that_answers_with_an_error_is_not_ready(runtime: LocalRuntime) -> None:
    port = free_port()
    command = ["python", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    launch(runtime, command, deadline_s=None, port=port, ready_path="/missing")
    logged(runtime, "code 404")
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
    launch(runtime, python("import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"))
    logged(runtime, "pid ")
    container = int(runtime.read_log("job").split("pid ")[1].split()[0])
    os.kill(int((runtime.layout.pods / "default.job" / "supervisor.lock").read_text()), signal.SIGKILL)
    status = until(lambda: s if (s := runtime.status("job")).ended else None, "the loss to be noticed")
    assert status.reason == "NodeLost"
    assert status.outcome.failure is not None and status.outcome.failure.failure_class is FailureClass.NODE_LOST
    until(lambda: not alive(container), "the container to end")


def test_how_a_pod_ended_is_not_lost_while_its_status_cannot_be_written(runtime: LocalRuntime) -> None:
    gate = runtime.layout.root / "gate"
    code = (
        f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\nraise SystemExit(7)"
    )
    launch(runtime, python(code))
    running(runtime)
    away = runtime.layout.root / "status.away"
    runtime.layout.status.rename(away)
    runtime.layout.status.touch()  # a file where the folder was: writing fails as on a broken disk
    supervisor = int((runtime.layout.pods / "default.job" / "supervisor.lock").read_text())
    gate.touch()
    logged(runtime, "status: cannot be written: ")
    begun = _cpu_s(supervisor)
    time.sleep(2)  # the time in which it would burn a core
    assert _cpu_s(supervisor) - begun < 0.2
    runtime.layout.status.unlink()
    away.rename(runtime.layout.status)
    status = until(lambda: s if (s := runtime.status("job")).ended else None, "the status to be written")
    assert status.exit_code == 7


def test_nobody_supervises_a_pod_whose_folder_was_removed(runtime: LocalRuntime, tmp_path: Path) -> None:
    launch(runtime, python("print('pid', __import__('os').getpid(), flush=True); __import__('signal').pause()"))
    logged(runtime, "pid ")
    container = int(runtime.read_log("job").split("pid ")[1].split()[0])
    supervisor = int((runtime.layout.pods / "default.job" / "supervisor.lock").read_text())
    runtime.layout.root.rename(tmp_path / "away")
    shutil.rmtree(tmp_path / "away")
    os.kill(container, signal.SIGKILL)
    until(lambda: not alive(supervisor), "the supervisor to end")


def test_what_a_pod_leaves_in_its_temporary_directory_goes_with_it(runtime: LocalRuntime) -> None:
    launch(runtime, python("import tempfile; print('made', tempfile.mkdtemp()); raise SystemExit(3)"))
    until(lambda: runtime.status("job").ended, "its end")
    assert "made " in runtime.read_log("job")
    assert not (runtime.layout.pods / "default.job" / "tmp").exists()


def test_they_lie_in_the_pods_folder_and_go_although_its_supervisor_was_killed(runtime: LocalRuntime) -> None:
    code = "import signal, tempfile, sys; open(tempfile.mkdtemp() + '/copy', 'w').write('x'); print('made', flush=True)"
    launch(runtime, python(f"{code}; signal.pause()"))
    logged(runtime, "made")
    temporary = runtime.layout.pods / "default.job" / "tmp"
    assert [path.read_text() for path in temporary.glob("*/copy")] == ["x"]
    running(runtime)
    os.kill(int((runtime.layout.pods / "default.job" / "supervisor.lock").read_text()), signal.SIGKILL)
    until(lambda: runtime.status("job").ended, "the pod to be lost")
    assert not temporary.exists()


def test_sockets_fit_into_them_however_long_the_pods_folder_is(tmp_path: Path) -> None:
    runtime = LocalRuntime(tmp_path / ("long" * 20))
    code = "import multiprocessing.connection as c; print('at', c.Listener(family='AF_UNIX').address)"
    launch(runtime, python(code))
    status = until(lambda: s if (s := runtime.status("job")).ended else None, "its end")
    assert status.exit_code == 0, runtime.read_log("job")


def test_without_room_for_temporary_files_a_pod_fails_and_says_so(
    runtime: LocalRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = """
import pathlib
made = pathlib.Path.mkdir
def mkdir(path, *given, **named):
    if path.name == "tmp":
        raise OSError(28, "No space left on device")
    return made(path, *given, **named)
pathlib.Path.mkdir = mkdir
"""
    (tmp_path / "sitecustomize.py").write_text(full)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    launch(runtime, python("print('never')"))
    status = until(lambda: s if (s := runtime.status("job")).ended else None, "its end")
    assert status.reason == "StartError" and "No space left on device" in status.message


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_log_on_a_full_disk_does_not_end_the_pod_and_the_status_says_so(runtime: LocalRuntime) -> None:
    gate = runtime.layout.root / "gate"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.02)\nprint('x' * 1000)"
    launch(runtime, python(code))
    running(runtime)
    log = runtime.layout.pods / "default.job" / "log"
    log.unlink()
    log.symlink_to("/dev/full")
    gate.touch()
    until(lambda: runtime.status("job").phase is PodPhase.SUCCEEDED, "the pod to succeed")
    kept = json.loads((runtime.layout.status / "default.job.json").read_text())
    lost, _, why = kept["logLost"].partition(" ")
    assert int(lost) >= 1001 and why == "bytes: No space left on device"


def test_launching_twice_adopts(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=python("import time; time.sleep(60)"), labels={"a": "1"}))
    assert runtime.launch(pod) is True
    assert runtime.launch(pod) is False
    assert len(list(runtime.list({"a": "1"}))) == 1


def test_launching_a_pod_that_has_ended_does_not_run_it_again(run_pod: Run, runtime: LocalRuntime) -> None:
    command = python("print('once')")
    run_pod(command)
    launch(runtime, command)
    assert runtime.status("job").phase is PodPhase.SUCCEEDED
    assert runtime.read_log("job").count("once") == 1


def test_of_many_launchers_one_creates_it(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=python("import time; time.sleep(60)")))
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(runtime.launch, [pod] * 8))
    assert sorted(created) == [False] * 7 + [True]
    running(runtime)
    assert runtime.read_log("job").count("[bulkhead] devices") == 1


def test_the_name_of_another_owner_is_a_conflict(runtime: LocalRuntime) -> None:
    launch(runtime, ["true"], labels={"owner": "a"})
    with pytest.raises(ConflictError, match="belongs to another owner"):
        launch(runtime, ["true"], labels={"owner": "b"})


def test_a_pod_whose_creator_died_at_once_is_pending_and_the_next_launch_runs_it(runtime: LocalRuntime) -> None:
    pod = build(PodRequest(name="job", image="none", command=["true"]))
    runtime.layout.make()
    folder = runtime.layout.pods / "default.job"
    folder.mkdir()
    (folder / "pod.json").write_text(json.dumps(k8s.ApiClient().sanitize_for_serialization(pod)))
    assert runtime.status("job").phase is PodPhase.PENDING
    assert runtime.launch(pod) is False
    until(lambda: runtime.status("job").ended, "the pod to end")


# Deleting


def test_deleting_ends_the_pod_and_its_record(runtime: LocalRuntime) -> None:
    launch(runtime, python("import time; time.sleep(60)"))
    running(runtime)
    runtime.delete("job", reason="done", grace_s=0)
    runtime.delete("job", reason="done")
    with pytest.raises(NotFoundError, match="no pod 'job'"):
        runtime.status("job")


def test_a_deleter_that_died_half_way_leaves_a_pod_that_has_ended(run_pod: Run, runtime: LocalRuntime) -> None:
    run_pod(["true"])
    runtime.layout.status.joinpath("default.job.json").unlink()  # its first step
    until(lambda: runtime.status("job").ended, "the supervisor to go, and the pod to have ended")
    runtime.delete("job", reason="again")
    assert launch(runtime, ["true"]) is not None
    until(lambda: runtime.status("job").phase is PodPhase.SUCCEEDED, "the new pod of that name to run")


def test_an_older_generation_cannot_delete_a_newer_pod(runtime: LocalRuntime) -> None:
    launch(runtime, ["true"], annotations={GENERATION: "5"})
    with pytest.raises(FencedError, match="belongs to generation 5, the delete to 4"):
        runtime.delete("job", reason="zombie", generation=4)
    runtime.delete("job", reason="rightful", generation=5)


def test_ending_a_pod_right_after_it_was_launched_ends_it(runtime: LocalRuntime) -> None:
    for number in range(20):
        launch(runtime, python("import time; time.sleep(60)"), f"job-{number}")
        runtime.terminate(f"job-{number}", reason="never mind", grace_s=0)
        assert runtime.status(f"job-{number}").message == "never mind"


def test_a_pod_that_was_to_end_before_its_supervisor_began_never_runs(runtime: LocalRuntime, monkeypatch) -> None:
    pod = build(PodRequest(name="job", image="none", command=python("print('it ran')")))
    with monkeypatch.context() as dying:
        dying.setattr(LocalRuntime, "_supervise", lambda *_: None)
        runtime.launch(pod)
    runtime.terminate("job", reason="never mind")
    runtime.launch(pod)
    until(lambda: runtime.status("job").message == "never mind", "the pod to be ended")
    assert "it ran" not in runtime.read_log("job")


def test_ending_what_is_not_there_does_nothing(runtime: LocalRuntime) -> None:
    runtime.terminate("absent", reason="none")
    runtime.delete("absent", reason="none")


def test_negative_simulated_gpus_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="simulated_gpus = -1"):
        LocalRuntime(tmp_path, simulated_gpus=-1)


def test_logs_and_secrets_are_private(runtime: LocalRuntime) -> None:
    runtime.layout.make()
    assert runtime.layout.root.stat().st_mode & 0o077 == 0
