"""Releases that ask a person, and releases that are guarded, under a real scheduler and triggerer."""

from pathlib import Path

import pytest

from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.pods.identity import run_owner
from tests.e2e.conftest import Kept
from tests.local_pods import from_inside
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("examples_begun")]

APPROVE = "release.approve_1"
SERVER = Path(__file__).parents[1] / "programs" / "server.py"


def _rollout(kept: Kept, dag_id: str, run_id: str) -> Rollout:
    [found] = kept.control.ledger.rollouts.latest("digits", run_owner(dag_id, run_id))
    return found


def _asked(kept: Kept, run_id: str) -> str:
    """Start a release that asks; its revision, once it does."""
    kept.start("release_asked", run_id, {})
    kept.task("release_asked", run_id, "release.deploy", "success")
    rollout = _rollout(kept, "release_asked", run_id)
    assert rollout.phase is Phase.APPROVING
    assert kept.control.backends("digits").router.read("digits")[1].weights[rollout.revision_id] == 50
    states, waiting = kept.airflow.task_states, ("deferred", "awaiting_input")
    until(lambda: states("release_asked", run_id)["release.approve_1"] in waiting, "the question")
    # Who answers before the scheduler has heard of the question from its executor makes Airflow 3.3 fail the task.
    heard = f"TaskInstanceKey(dag_id='release_asked', task_id='release.approve_1', run_id='{run_id}'"
    logs = kept.folder / "logs"
    until(lambda: any(heard in log.read_text() for log in logs.glob("airflow-scheduler*.log")), "the scheduler")
    return rollout.revision_id


@pytest.mark.usefixtures("clients")
def test_a_release_that_a_person_approves_goes_on_to_its_end(kept: Kept) -> None:
    revision = _asked(kept, "approved")
    kept.answer("release_asked", "approved", APPROVE, "Approve")
    kept.task("release_asked", "approved", "release.promote_1", "success")
    assert _rollout(kept, "release_asked", "approved").phase is Phase.PROMOTED
    assert kept.control.ledger.services.get("digits").stable_revision == revision
    kept.task("release_asked", "approved", "release.roll_back_1", "skipped")


@pytest.mark.usefixtures("clients")
def test_a_release_that_a_person_rejects_is_taken_back(kept: Kept) -> None:
    stable = kept.control.ledger.services.get("digits").stable_revision
    _asked(kept, "rejected")
    kept.answer("release_asked", "rejected", APPROVE, "Reject")
    kept.task("release_asked", "rejected", "release.roll_back_1", "success")
    rollout = _rollout(kept, "release_asked", "rejected")
    assert (rollout.phase, rollout.reason) == (Phase.ROLLED_BACK, "step 1 was not approved")
    assert kept.control.backends("digits").router.read("digits")[1].weights == {stable: 100}


def _guarded(kept: Kept, run_id: str, status: int) -> str:
    server = from_inside(kept.control.runtime, SERVER)
    kept.start("release_guarded", run_id, {"server": server, "status": str(status)})
    kept.task("release_guarded", run_id, "deploy", "success")
    return _rollout(kept, "release_guarded", run_id).revision_id


@pytest.mark.usefixtures("clients")
def test_a_guard_that_sees_nothing_lets_the_release_be(kept: Kept) -> None:
    revision = _guarded(kept, "sound", 200)
    kept.task("release_guarded", "sound", "guard", "success")
    assert kept.control.ledger.services.get("digits").stable_revision == revision


@pytest.mark.usefixtures("clients")
def test_a_guard_takes_back_what_fails_after_its_release(kept: Kept) -> None:
    before = kept.control.ledger.services.get("digits").stable_revision
    revision = _guarded(kept, "failing", 500)
    kept.task("release_guarded", "failing", "guard", "failed")

    def returned() -> bool:
        return kept.control.backends("digits").router.read("digits")[1].weights == {before: 100}

    until(returned, f"the traffic of {revision} to return")
    assert "guard" in kept.airflow.log("release_guarded", "failing", "guard")
