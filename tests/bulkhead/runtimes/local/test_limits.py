from pathlib import Path

from bulkhead.runtimes.local import limits


def test_nothing_asked_for_nothing_done(tmp_path: Path) -> None:
    made = limits.make("pod", None, None, tmp_path)
    assert (made.groups, made.how) == ([], "no limits asked for")


def test_cgroup_v2_is_preferred(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids")
    made = limits.make("pod", 2**20, 0.5, tmp_path)
    group = tmp_path / "bulkhead" / "pod"
    assert made.groups == [group] and made.how == "enforced by cgroup v2"
    assert (group / "memory.max").read_text() == str(2**20)
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +cpu"


def test_cgroup_v1_where_there_is_no_v2(tmp_path: Path) -> None:
    for controller in ("memory", "cpu"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "tasks").touch()
    made = limits.make("pod", 2**20, 1.5, tmp_path)
    assert made.how == "enforced by cgroup v1"
    assert (tmp_path / "memory" / "bulkhead" / "pod" / "memory.limit_in_bytes").read_text() == str(2**20)
    assert (tmp_path / "cpu" / "bulkhead" / "pod" / "cpu.cfs_quota_us").read_text() == "150000"


def test_rlimits_where_there_is_neither_and_the_log_says_why(tmp_path: Path) -> None:
    made = limits.make("pod", 2**20, None, tmp_path)
    assert made.groups == []
    assert "enforced by rlimit and CPU affinity, since cgroups cannot be used here (cgroup v1" in made.how


def test_an_oom_kill_is_seen_in_either_version(tmp_path: Path) -> None:
    for name in ("memory.events", "memory.oom_control"):
        group = tmp_path / name
        group.mkdir()
        (group / name).write_text("low 0\noom_kill 1\n")
        assert limits.ProcessLimits(1, None, [group]).oom_killed()
        (group / name).write_text("low 0\noom_kill 0\n")
        assert not limits.ProcessLimits(1, None, [group]).oom_killed()
