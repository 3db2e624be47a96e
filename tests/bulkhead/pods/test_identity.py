import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.pods.identity import TaskIdentity, matches

TASK = TaskIdentity("release", "manual__2026-11-24T10:00:00+00:00", "train", -1, 0)
_identities = st.builds(
    TaskIdentity,
    st.text(min_size=1, max_size=250),
    st.text(min_size=1, max_size=250),
    st.text(min_size=1, max_size=250),
    st.integers(-1, 1000),
    st.integers(0, 100),
)


@given(_identities, st.integers(1, 1000))
def test_names_and_labels_are_what_kubernetes_accepts(task: TaskIdentity, try_number: int) -> None:
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", task.pod_name(try_number))
    for value in task.labels().values():
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", value)


@pytest.mark.parametrize(
    "other",
    [
        replace(TASK, dag_id="other"),
        replace(TASK, run_id="other"),
        replace(TASK, task_id="evaluate"),
        replace(TASK, map_index=0),
        replace(TASK, clear_number=1),
    ],
)
def test_every_part_tells_tasks_apart(other: TaskIdentity) -> None:
    assert other.key != TASK.key
    assert other.pod_name(1) != TASK.pod_name(1)
    assert not matches(other.labels(), TASK.labels())


def test_a_clear_makes_another_clear_number_of_the_same_instance() -> None:
    cleared = replace(TASK, clear_number=2)
    assert cleared.earlier(TASK.key)
    assert not TASK.earlier(TASK.key)
    assert not cleared.earlier(replace(TASK, task_id="evaluate").key)
    assert matches(TASK.labels(), cleared.instance_labels())


def test_tries_of_one_clear_number_share_labels_and_not_names() -> None:
    assert TASK.pod_name(1) != TASK.pod_name(2)


@given(_identities, _identities, st.integers(1, 1000), st.sampled_from([None, "own", "a-b-"]))
def test_a_name_tells_its_clear_number_whichever_its_try(
    task: TaskIdentity, other: TaskIdentity, try_number: int, prefix: str | None
) -> None:
    assert task.named(task.pod_name(try_number, prefix))
    assert task.named(other.pod_name(try_number, prefix)) is (task.key == other.key)
    assert not task.named(replace(task, clear_number=task.clear_number + 1).pod_name(try_number, prefix))
    assert not task.named("train")


def test_tasks_that_only_differ_in_case_or_signs_have_different_names() -> None:
    assert replace(TASK, task_id="a_b").pod_name(1) != replace(TASK, task_id="a.b").pod_name(1)


def test_a_selector_matches_equal_labels_only() -> None:
    assert matches({"a": "1", "b": "2"}, {"a": "1"})
    assert not matches({"a": "2"}, {"a": "1"})
    assert not matches(None, {"a": "1"})
    assert matches(None, {})
