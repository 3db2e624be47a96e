"""Airflow dies in the middle of a rollout, all of it: the release can still be rolled back. Last, since it is final."""

import json
import os
import signal

import pytest

from bulkhead.ledger.tables import Phase
from tests.e2e.conftest import Kept
from tests.waiting import until

pytestmark = pytest.mark.e2e


def test_the_command_line_rolls_a_release_back_while_airflow_is_dead(kept: Kept) -> None:
    kept.deferred("release_again", "orphaned", "deploy")
    stable = kept.control.ledger.services.get("digits").stable_revision

    def exposed() -> bool:
        return any(rollout.phase is Phase.ANALYSING for rollout in kept.control.ledger.rollouts.active())

    until(exposed, "the rollout to have traffic")
    for component in ("scheduler", "triggerer", "dag-processor", "api-server"):
        pids = kept.components(component)
        assert pids, f"no {component}"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    before = json.loads(kept.cli("status", "--json").stdout)
    assert before["rollouts"][0]["phase"] == "analysing"
    assert before["services"][0]["traffic"][stable] == 90

    done = kept.cli("rollback", "digits", "--reason", "Airflow is dead")
    assert done.returncode == 0, done.stderr
    after = json.loads(kept.cli("status", "digits", "--json").stdout)
    assert after["services"][0]["traffic"] == {stable: 100}
    assert after["rollouts"][0]["phase"] == "rolled_back"
    assert after["rollouts"][0]["reason"] == "Airflow is dead"
