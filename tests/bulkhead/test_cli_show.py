"""``bulkhead show``: one release for a person, from the ledger alone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bulkhead.cli import app
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.pods.identity import run_owner
from bulkhead.rollout.plan import Plan, Step
from bulkhead.settings import CONFIG_VARIABLE, Settings
from tests.hostile import NASTY
from tests.rollouts import advance, promote, request, revision

runner = CliRunner()


@pytest.fixture
def ledger(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Of a configuration whose services are nowhere: nothing but the ledger answers."""
    settings = Settings(home=tmp_path / "home", ledger_url=sqlite_url, mlflow_tracking_uri="http://127.0.0.1:1")
    (tmp_path / "config.yaml").write_text(json.dumps(settings.model_dump(mode="json", exclude_defaults=True)))
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config.yaml"))
    return Ledger(sqlite_url)


def _show(*words: str) -> str:
    result = runner.invoke(app, ["show", *words])
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 100
    return result.output


def test_a_release_that_was_rolled_back_says_why_and_what_can_be_done(ledger: Ledger) -> None:
    stable = promote(ledger, "old").revision_id
    spec = revision("new", evidence={"accuracy": 0.973512, "data": {"rows": 1797}})
    owner, plan = run_owner("release", "manual__2026"), Plan(steps=(50, 100)).model_dump(mode="json")
    rollout = ledger.rollouts.request(spec.columns(), plan, Request("k", "", "a task"), owner=owner)
    reason = "at 50 % of the traffic 63 of 212 (29.7%) requests failed"
    ledger.rollouts.abort(advance(ledger, rollout, Phase.ANALYSING), reason, {"rule": "errors"})
    back = ledger.rollouts.get(rollout.id)
    for phase in (Phase.UNALIASING, Phase.DRAINING, Phase.ROLLED_BACK):
        back = ledger.rollouts.transition(back, phase, str(phase), {})
    text = _show(str(rollout.id))
    assert text.startswith(f"Release {rollout.id} of service digits: rolled_back")
    for words in (
        f"replaces    {stable}",
        "DAG run     release, manual__2026",
        "plan        50 %, 100 %",
        "evidence    accuracy: 0.9735",
        "evidence    data: rows 1797",
        "63 of 212 (29.7%) requests failed",
        f"bulkhead isolate {rollout.revision_id} --reason …",
    ):
        assert words in text, text
    assert "bulkhead rollback" not in text.split("Next:")[-1]
    assert json.loads(runner.invoke(app, ["show", str(rollout.id), "--json"]).output)["reason"] == reason


def test_by_its_service_it_is_the_one_in_progress_else_the_latest(ledger: Ledger) -> None:
    old = promote(ledger, "old")
    assert _show("digits").startswith(f"Release {old.id} of service digits: promoted")
    asked = Plan(steps=(Step(weight=50, approve=True), Step(weight=100))).model_dump(mode="json")
    rollout = ledger.rollouts.request(revision("new").columns(), asked, Request("k", "", "x"), owner="ada")
    rollout = advance(ledger, rollout, Phase.ANALYSING)
    ledger.rollouts.transition(rollout, Phase.APPROVING, "approving", {})
    text = _show("digits")
    assert text.startswith(f"Release {rollout.id} of service digits: approving, step 1 of 2")
    assert "plan        50 %, then a person approves, 100 %" in text
    assert "  bulkhead approve digits\n  bulkhead rollback digits\n" in text


def test_an_isolated_revision_has_its_way_back(ledger: Ledger) -> None:
    promote(ledger, "old")
    new = promote(ledger, "new")
    ledger.isolations.isolate(new.revision_id, Request("i", "it leaks", "x"), levels=(IsolationLevel.TRAFFIC,))
    text = _show(str(new.id))
    assert "isolated    traffic" in text and f"bulkhead unisolate {new.revision_id} --reason …" in text
    assert "which serves now" in text


@pytest.mark.parametrize("text", NASTY)
def test_text_from_outside_is_shown_as_text(ledger: Ledger, text: str) -> None:
    rollout = request(ledger, "new", owner=run_owner("release", text))
    ledger.rollouts.abort(rollout, text, {"by": text})
    assert f"Release {rollout.id}" in _show(str(rollout.id))


@pytest.mark.parametrize(("word", "says"), [("77", "77"), ("nothing", "nothing")])
def test_what_there_is_not_is_an_error_in_one_line(ledger: Ledger, word: str, says: str) -> None:
    result = runner.invoke(app, ["show", word])
    assert result.exit_code == 2 and result.stderr.startswith("error: ") and says in result.stderr
    assert len(result.stderr.splitlines()) == 1
