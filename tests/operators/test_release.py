import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG

from bulkhead.operators.deploy import DeployOperator
from bulkhead.operators.promote import PromoteOperator
from bulkhead.operators.release import release
from bulkhead.operators.roll_back import RollBackOperator


def _dag(plan: dict[str, object], **defaults: object) -> DAG:
    with DAG("release_test", schedule=None, default_args=defaults) as dag:
        release("digits", "digits", plan=plan, image="image")
    return dag


def test_without_approvals_it_is_one_task() -> None:
    dag = _dag({"steps": [10, 100]})
    assert list(dag.task_dict) == ["release.deploy"]
    deploy = dag.task_dict["release.deploy"]
    assert isinstance(deploy, DeployOperator) and not deploy.stop_at_approval and deploy.image == "image"


def test_each_step_that_asks_has_a_question_a_promotion_and_a_way_back() -> None:
    dag = _dag({"steps": [{"weight": 10, "approve": True}, 50, {"weight": 100, "approve": True}]})
    tasks = dag.task_dict
    parts = [f"{part}_{number}" for part in ("approve", "promote", "roll_back") for number in (1, 3)]
    assert set(tasks) == {f"release.{name}" for name in ("deploy", *parts)}
    assert tasks["release.deploy"].stop_at_approval
    assert tasks["release.deploy"].downstream_task_ids == {"release.approve_1"}
    assert tasks["release.approve_1"].downstream_task_ids == {"release.promote_1", "release.roll_back_1"}
    assert tasks["release.promote_1"].downstream_task_ids == {"release.approve_3"}
    first, last = tasks["release.promote_1"], tasks["release.promote_3"]
    assert isinstance(first, PromoteOperator) and isinstance(last, PromoteOperator)
    assert (first.stop_at_approval, last.stop_at_approval) == (True, False)
    assert first.deploy_task_id == last.deploy_task_id == "release.deploy"
    back, approve = tasks["release.roll_back_1"], tasks["release.approve_1"]
    assert isinstance(back, RollBackOperator) and back.trigger_rule == "all_failed"
    assert isinstance(approve, ApprovalOperator) and approve.fail_on_reject


@pytest.mark.parametrize("steps", [[10, {"weight": 100}], [{"weight": 100, "approve": False}]])
def test_only_true_asks(steps: list[object]) -> None:
    assert list(_dag({"steps": steps}).task_dict) == ["release.deploy"]


@pytest.mark.parametrize(("defaults", "tries"), [({}, 1), ({"retries": 0}, 0), ({"retries": 3}, 3)])
def test_whoever_says_no_is_not_asked_again_while_what_waits_for_a_rollout_is_tried_again(
    defaults: dict[str, object], tries: int
) -> None:
    tasks = _dag({"steps": [{"weight": 50, "approve": True}, 100]}, **defaults).task_dict
    assert tasks.pop("release.approve_1").retries == 0
    assert {task.retries for task in tasks.values()} == {tries}
