from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from bulkhead.control import Control
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.operators.deploy import DeployOperator
from bulkhead.operators.triggers.rollout import RolloutTrigger
from tests.rollouts import advance, promote, weights

Context = Callable[..., Any]
EVIDENCE = {"evaluate": {"model_uri": "models:/m-1", "accuracy": 0.98}}


def _operator(**more: Any) -> DeployOperator:
    return DeployOperator(task_id="deploy", **{"service": "digits", "model_name": "digits", **more})


def _rendered(service: str = "digits", **fields: Any) -> DeployOperator:
    """With fields as their templates were rendered: what could be known earlier was refused when the DAG was read."""
    operator = _operator(service=service)
    for name, value in fields.items():
        setattr(operator, name, value)
    return operator


def _ask(operator: DeployOperator, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    assert isinstance(deferred.value.trigger, RolloutTrigger)
    return deferred.value


def _only(control: Control) -> Rollout:
    (rollout,) = control.ledger.rollouts.latest()
    return rollout


def test_it_writes_the_intent_and_defers(control: Control, context: Context) -> None:
    promote(control.ledger, "old")
    deferred = _ask(_operator(plan={"steps": [10, 100]}), context("deploy", xcoms=EVIDENCE))
    rollout = control.ledger.rollouts.get(deferred.trigger.rollout_id)
    assert (rollout.phase, rollout.owner) == (Phase.REQUESTED, "airflow:release/run")
    assert weights(rollout) == [10, 100]
    revision = control.ledger.revisions.get(rollout.revision_id)
    assert (revision.model_uri, revision.evidence["accuracy"]) == ("models:/m-1", 0.98)


def test_a_first_revision_goes_to_all_of_the_traffic_in_one_step(control: Control, context: Context) -> None:
    _ask(_operator(), context("deploy", xcoms=EVIDENCE))
    assert weights(_only(control)) == [100]


def test_a_retry_finds_its_rollout_again(control: Control, context: Context) -> None:
    first = _ask(_operator(), context("deploy", try_number=1, xcoms=EVIDENCE))
    second = _ask(_operator(), context("deploy", try_number=2, xcoms=EVIDENCE))
    assert first.trigger.rollout_id == second.trigger.rollout_id == _only(control).id


def test_a_server_without_an_image_runs_the_configurations(
    control: Control, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKHEAD_TASKS_IMAGE", "registry/tasks:1")
    _ask(_operator(), context("deploy", xcoms=EVIDENCE))
    assert control.ledger.revisions.get(_only(control).revision_id).image == "registry/tasks:1"


def test_a_promoted_release_gives_its_result(control: Control, context: Context) -> None:
    _ask(_operator(), context("deploy", xcoms=EVIDENCE))
    rollout = advance(control.ledger, _only(control), Phase.PROMOTED)
    result = _operator().resume(context("deploy"), {"rollout_id": rollout.id})
    assert (result["result"], result["revision"]) == ("promoted", rollout.revision_id)


def test_a_release_that_was_rolled_back_fails_with_the_numbers(control: Control, context: Context) -> None:
    _ask(_operator(), context("deploy", xcoms=EVIDENCE))
    turned = control.ledger.rollouts.abort(_only(control), "3 of 12 (25.0%) requests failed", {})
    advance(control.ledger, turned, Phase.ROLLED_BACK)
    with pytest.raises(AirflowFailException, match=r"Rolled back: .*: 3 of 12 \(25\.0%\) requests failed\. .* Next: "):
        _operator().resume(context("deploy"), {"rollout_id": turned.id})


def test_a_retry_after_its_rollouts_end_tells_the_same_and_defers_for_nothing(
    control: Control, context: Context
) -> None:
    _ask(_operator(), context("deploy", xcoms=EVIDENCE))
    advance(control.ledger, _only(control), Phase.PROMOTED)
    assert _operator().execute(context("deploy", try_number=2, xcoms=EVIDENCE))["result"] == "promoted"
    other = {"evaluate": {"model_uri": "models:/m-2"}}
    deferred = _ask(_operator(), context("deploy", try_number=3, max_tries=4, xcoms=other))
    turned = control.ledger.rollouts.abort(
        control.ledger.rollouts.get(deferred.trigger.rollout_id), "3 of 12 failed", {}
    )
    advance(control.ledger, turned, Phase.ROLLED_BACK)
    with pytest.raises(AirflowFailException, match=r"Rolled back: .*: 3 of 12 failed"):
        _operator().execute(context("deploy", try_number=4, max_tries=4, xcoms=other))


def test_a_task_cleared_in_the_middle_of_its_rollout_waits_until_that_one_has_returned(
    control: Control, context: Context
) -> None:
    first = _ask(_operator(), context("deploy", xcoms=EVIDENCE))
    cleared = context("deploy", try_number=2, max_tries=2, xcoms=EVIDENCE)
    waiting = _ask(_operator(), cleared)
    assert (waiting.trigger.rollout_id, waiting.method_name) == (first.trigger.rollout_id, "again")
    old = _only(control)
    assert (old.phase, old.reason) == (Phase.RESTORING, "its deploy task was cleared in Airflow")
    advance(control.ledger, old, Phase.ROLLED_BACK)
    with pytest.raises(TaskDeferred) as deferred:
        _operator().again(cleared, {"rollout_id": old.id})
    assert deferred.value.trigger.rollout_id != old.id
    assert deferred.value.method_name == "resume"


def test_late_word_of_a_rollout_from_before_the_clear_is_none(control: Control, context: Context) -> None:
    _ask(_operator(), context("deploy", xcoms=EVIDENCE))
    old = advance(control.ledger, control.ledger.rollouts.abort(_only(control), "cleared", {}), Phase.ROLLED_BACK)
    cleared = context("deploy", try_number=2, max_tries=2, xcoms=EVIDENCE)
    own = _ask(_operator(), cleared).trigger.rollout_id
    with pytest.raises(TaskDeferred) as deferred:
        _operator().resume(cleared, {"rollout_id": old.id})
    assert deferred.value.trigger.rollout_id == own != old.id


def test_a_refusal_says_what_serves_meanwhile(control: Control, context: Context) -> None:
    stable = promote(control.ledger, "old").revision_id
    wrong = _rendered(plan={"steps": "all"})
    with pytest.raises(AirflowFailException) as refused:
        wrong.execute(context("deploy", xcoms=EVIDENCE))
    words = str(refused.value)
    assert words.startswith("Refused, and nothing was changed: plan.steps = 'all': ")
    assert words.endswith(f". Revision {stable} serves digits as before.")


def test_another_runs_rollout_is_not_superseded(control: Control, context: Context) -> None:
    _ask(_operator(), context("deploy", xcoms=EVIDENCE))
    other = context("deploy", xcoms={"evaluate": {"model_uri": "models:/m-2"}})
    other["ti"].run_id = "another run"
    with pytest.raises(AirflowFailException, match="is requested for airflow:release/run; wait for it"):
        _operator().execute(other)
    assert _only(control).phase is Phase.REQUESTED


def test_a_task_that_comes_after_its_runs_deadline_is_refused_and_one_that_was_cleared_is_not(
    control: Control, context: Context
) -> None:
    control.ledger.rollouts.withdraw("airflow:release/run", Request("w", "deadline", "airflow"))
    with pytest.raises(AirflowFailException, match="was withdrawn"):
        _operator().execute(context("deploy", xcoms=EVIDENCE))
    assert control.ledger.rollouts.latest() == []
    _ask(_operator(), context("deploy", try_number=2, max_tries=2, xcoms=EVIDENCE))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"plan": {"steps": [50, 10]}}, r"plan\.steps = "),
        ({"plan": {"min_requests": "none"}}, r"plan\.min_requests = 'none'"),
        ({"service": "letters"}, "unknown service 'letters'; services in the configuration: digits"),
        ({"serve": {"gpuss": 1}}, r"serve\.gpuss = 1"),
        ({"model_uri": "models:/\x00"}, r"revision\.model_uri = "),
    ],
)
def test_bad_input_fails_at_once_and_changes_nothing(
    control: Control, context: Context, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(AirflowFailException, match=named):
        _rendered(**arguments).execute(context("deploy", xcoms=EVIDENCE))
    assert control.ledger.rollouts.latest() == [] and control.ledger.services.all() == []


def test_a_registered_version_can_be_named(control: Control, context: Context) -> None:
    _ask(_operator(evaluate_task_id=None, model_version="3"), context("deploy"))
    revision = control.ledger.revisions.get(_only(control).revision_id)
    assert (revision.model_uri, revision.model_version) == ("models:/digits/3", "3")
