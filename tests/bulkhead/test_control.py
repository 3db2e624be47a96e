import threading
from pathlib import Path

import pytest

from bulkhead.backends import MLFLOW_SECRET
from bulkhead.control import Control
from bulkhead.errors import NotFoundError, UnavailableError
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.rollout.plan import Plan
from bulkhead.rollout.wake import wake
from bulkhead.settings import ServicePorts, Settings
from tests.rollouts import promote, request, revision, weights
from tests.waiting import until


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(Settings(home=tmp_path, services={"digits": ServicePorts(port=18080, admin_port=18081)}))


def _release(control: Control, name: str) -> list[int]:
    rollout = control.commands.release(revision(name), Plan(), Request(name, "", "a test"), owner="o")
    return weights(rollout)


def test_a_first_revision_goes_to_all_of_the_traffic_at_once_and_later_ones_step_by_step(control: Control) -> None:
    assert _release(control, "a") == [100]
    control.ledger.rollouts.request_rollback(Request("r", "x", "x"), service="digits")


def test_a_later_revision_goes_step_by_step(control: Control) -> None:
    promote(control.ledger, "old")
    assert _release(control, "new") == [10, 50, 100]


def test_a_release_nudges_the_reconciler(control: Control) -> None:
    _release(control, "a")
    assert (control.settings.home / "wake" / "wake").exists()


def test_rolling_back_takes_back_what_is_in_progress(control: Control) -> None:
    rollout = request(control.ledger, "a")
    back = control.commands.roll_back("digits", Request("k", "a person", "cli"))
    assert (back.id, back.phase) == (rollout.id, Phase.RESTORING)


def test_rolling_back_with_nothing_in_progress_returns_to_the_revision_before(control: Control) -> None:
    first = promote(control.ledger, "a")
    promote(control.ledger, "b")
    back = control.commands.roll_back("digits", Request("k", "a person", "cli"))
    assert back.revision_id == first.revision_id
    assert (weights(back), back.plan["judged"]) == ([100], False)


def test_rolling_back_with_nowhere_to_go_says_so(control: Control) -> None:
    with pytest.raises(NotFoundError, match="unknown service 'digits'"):
        control.commands.roll_back("digits", Request("k", "x", "cli"))
    promote(control.ledger, "a")
    with pytest.raises(NotFoundError, match="no earlier revision"):
        control.commands.roll_back("digits", Request("k2", "x", "cli"))


def test_a_ledger_that_is_away_for_a_while_does_not_end_the_watch(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    polled: list[str] = []

    def run_once() -> bool:
        polled.append("look")
        if len(polled) == 1:
            raise UnavailableError("the ledger does not answer")
        return False

    monkeypatch.setattr(control.reconciler, "run_once", run_once)
    stop = threading.Event()
    thread = threading.Thread(target=control.reconcile_until, args=(stop.is_set, stop))
    thread.start()
    until(lambda: len(polled) >= 2, "a poll after the failed one")
    stop.set()
    wake(control.settings.home)
    thread.join(240)
    assert not thread.is_alive()


def test_mlflows_credentials_come_from_the_secret_unless_the_environment_has_them(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    control.load_credentials()
    assert "MLFLOW_TRACKING_USERNAME" not in os.environ
    control.runtime.write_secret(MLFLOW_SECRET, {"username": "u", "password": "p"})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "mine")
    control.load_credentials()
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "mine"
    assert os.environ.pop("MLFLOW_TRACKING_PASSWORD") == "p"
