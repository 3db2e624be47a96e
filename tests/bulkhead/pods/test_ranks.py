import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.pods.outcome import Failure, FailureClass, Outcome
from bulkhead.pods.ranks import INDEX, JobState, cause, job_state, rank


def _pod(index: int, phase: str, code: int = 0, second: int = 0, message: str = "", reason: str = "Error") -> Any:
    finished = f"2026-11-25T10:00:{second:02d}Z"
    terminated = {"exitCode": code, "reason": reason, "message": message, "finishedAt": finished}
    state = {"terminated": terminated} if phase in ("Failed", "Succeeded") else {"running": {}}
    return {
        "metadata": {"name": f"train-{index}-abcde", "labels": {INDEX: str(index)}},
        "spec": {"nodeName": f"gpu-{index}"},
        "status": {"phase": phase, "containerStatuses": [{"name": "base", "state": state}]},
    }


def _said(text: str, exception: str = "builtins.RuntimeError", **more: Any) -> str:
    failure = Failure(failure_class=FailureClass.APPLICATION, message=text, exception=exception, **more)
    return Outcome(failure=failure).encode()


@pytest.mark.parametrize(
    ("phases", "stands"),
    [
        ("", JobState.WAITING),
        ("Running Running", JobState.WAITING),
        ("Succeeded Running", JobState.WAITING),
        ("Succeeded Succeeded", JobState.SUCCEEDED),
        ("Failed Running", JobState.FAILING),
        ("Failed Pending", JobState.FAILING),
        ("Failed Succeeded", JobState.FAILED),
        ("Failed", JobState.FAILED),
    ],
)
def test_how_a_job_stands(phases: str, stands: JobState) -> None:
    assert job_state([_pod(index, phase) for index, phase in enumerate(phases.split())], 2) is stands


VICTIMS = [
    _said("[Rank 0] Connection closed by peer [10.0.0.7]:29500", "torch.distributed.DistBackendError"),
    _said("NCCL error: remote process exited or there was a network error, ncclRemoteError"),
    _said("Broken pipe", "torch.distributed.DistNetworkError"),
    _said("The client socket has timed out after 60s while trying to connect"),
    _said("Process 9 got signal: 15", "torch.distributed.elastic.multiprocessing.api.SignalException"),
    "",
]


@pytest.mark.parametrize("victim", VICTIMS)
def test_the_cause_is_not_its_victim_even_where_that_ended_first(victim: str) -> None:
    pods = [
        _pod(0, "Failed", 143 if not victim else 1, 3, victim),
        _pod(1, "Failed", 1, 4, _said("index out of range", "builtins.IndexError")),
        _pod(2, "Running"),
    ]
    found = cause(pods)
    assert found is not None
    assert (found.node_rank, found.node, found.pod, found.victims) == (1, "gpu-1", "train-1-abcde", (0,))
    assert found.failure.exception == "builtins.IndexError" and found.failure.rank == 1


def test_the_kernel_says_more_than_the_others_words() -> None:
    pods = [
        _pod(0, "Failed", 1, 5, _said("Connection reset by peer")),
        _pod(1, "Failed", 137, 6, reason="OOMKilled"),
    ]
    found = cause(pods)
    assert found is not None and found.failure.failure_class is FailureClass.HOST_OOM and found.node_rank == 1


def test_of_several_the_first_counts() -> None:
    found = cause([_pod(0, "Failed", 1, 9, _said("a")), _pod(1, "Failed", 1, 4, _said("b")), _pod(2, "Failed", 1, 5)])
    assert found is not None and found.node_rank == 1 and found.victims == (2, 0)


def test_the_process_that_failed_says_its_own_rank() -> None:
    found = cause([_pod(1, "Failed", 1, 4, _said("b", rank=11))])
    assert found is not None and found.failure.rank == 11


def test_where_only_victims_are_left_one_of_them_has_to_do() -> None:
    found = cause([_pod(1, "Failed", 1, 4, VICTIMS[0])])
    assert found is not None and found.node_rank == 1


def test_nothing_failed() -> None:
    assert cause([_pod(0, "Succeeded"), _pod(1, "Running")]) is None


@given(st.permutations(range(4)))
def test_the_order_in_which_pods_are_listed_does_not_matter(order: list[int]) -> None:
    pods = [_pod(index, "Failed", 1, 4, _said("x")) for index in range(4)]
    found = cause([pods[index] for index in order])
    assert found is not None and found.node_rank == 0


def test_a_pod_of_no_job_has_no_rank() -> None:
    assert rank({"metadata": {"name": "a"}}) == -1
    assert [rank(_pod(index, "Running")) for index in itertools.islice(range(3), 3)] == [0, 1, 2]
