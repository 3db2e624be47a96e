"""``bulkhead ui``: the pages without Airflow, by the command itself and in a real Chromium."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from typer.testing import CliRunner

from bulkhead.cli import app
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.rollout.plan import Plan, Step
from bulkhead.settings import CONFIG_VARIABLE, Settings
from tests.browsers import PATIENCE_MS, chromium
from tests.ports import free_port
from tests.rollouts import advance, promote, revision

BULKHEAD = str(Path(sys.executable).with_name("bulkhead"))
EVIL = '<img src=x onerror="alert(1)">\'"'


@pytest.fixture
def ledger(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    settings = Settings(home=tmp_path / "home", ledger_url=sqlite_url, mlflow_tracking_uri="http://127.0.0.1:1")
    (tmp_path / "config.yaml").write_text(json.dumps(settings.model_dump(mode="json", exclude_defaults=True)))
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config.yaml"))
    return Ledger(sqlite_url)


@pytest.fixture
def address(ledger: Ledger) -> Iterator[str]:
    """What the command has printed; at the end it is interrupted, as a person does it."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([BULKHEAD, "ui"], stdout=subprocess.PIPE, text=True, env=environment) as command:
        assert command.stdout is not None
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", command.stdout.readline())
            assert found is not None
            yield found[0]
            command.send_signal(signal.SIGINT)  # who is told the address is heard
            said = command.communicate(timeout=120)[0]
        finally:
            command.kill()
        assert command.returncode in (0, 130, -signal.SIGINT), said
        assert "token" not in said


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    complaints: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a text was run: {dialog.message}"))
        page.goto(address)
        yield page
    assert complaints == []


def test_a_person_finds_what_waits_approves_it_and_sees_it_go_on(ledger: Ledger, page: Page) -> None:
    promote(ledger, "old")
    plan = Plan(steps=(Step(weight=50, approve=True), Step(weight=100)), step_s=0).model_dump(mode="json")
    columns = revision("new", evidence={EVIL: EVIL}).columns()
    rollout = ledger.rollouts.request(columns, plan, Request("w", EVIL, EVIL), owner="cli: ada")
    rollout = advance(ledger, rollout, Phase.ANALYSING)
    arm = {"requests": 40, "failures": 1, "slow": 0, "p99_ms": [5, 10]}
    for window in (2.0, 4.0):
        ledger.measurements.append(
            rollout, {"candidate": arm, "stable": arm, "window_s": window, "evidence": {"errors": 0.2}}
        )
    rollout = ledger.rollouts.transition(rollout, Phase.APPROVING, "approving", {"step": 0})

    row = page.get_by_role("row", name=re.compile("digits"))
    expect(row).to_contain_text("Step 1 waits for a person to approve.")
    row.get_by_role("link").click()
    expect(page.get_by_role("img", name="Evidence against it: errors 0.2")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill(EVIL)
    dialog.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("region", name="What happened")).to_contain_text(EVIL)
    assert ledger.approvals.approved(rollout)
    page.go_back()
    expect(page.get_by_role("heading", name="Services")).to_be_visible()


def test_a_person_promotes_what_is_urgent(ledger: Ledger, page: Page) -> None:
    promote(ledger, "old")
    columns, plan = revision("new").columns(), Plan(steps=(10, 50, 100)).model_dump(mode="json")
    rollout = ledger.rollouts.request(columns, plan, Request("w", "", "x"), owner="cli: ada")
    rollout = advance(ledger, rollout, Phase.ANALYSING)
    page.goto(f"{page.url}?release={rollout.id}")
    page.get_by_role("button", name="Promote").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("to the last one of its plan (100 %) at once")
    dialog.get_by_role("textbox").fill("it is urgent")
    dialog.get_by_role("button", name="Promote").click()
    expect(page.get_by_role("region", name="What happened")).to_contain_text(
        "go to the last step at once: it is urgent."
    )
    assert ledger.approvals.promoted(rollout)
    ledger.rollouts.transition(rollout, Phase.SHIFTING, "shifting", {}, step=2)
    expect(page.get_by_role("button", name="Promote")).to_be_hidden()


def test_opposite_buttons_pressed_at_once_and_a_release_that_does_not_exist(ledger: Ledger, page: Page) -> None:
    promote(ledger, "old")
    columns, plan = revision("new").columns(), Plan(steps=(50, 100)).model_dump(mode="json")
    rollout = ledger.rollouts.request(columns, plan, Request("w", "", "x"), owner="cli: ada")
    services = page.url
    page.goto(f"{services}?release={rollout.id}")
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("mine")
    ledger.rollouts.request_rollback(Request("other", "theirs", "web: bob"), rollout_id=rollout.id)
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("nothing was changed")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("region", name="What happened")).to_contain_text("web: bob: theirs")
    page.goto(f"{services}?service=digits")  # what an alert links to
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Release {rollout.id} of digits")
    page.goto(f"{services}?service=nothing")
    expect(page.get_by_role("alert")).to_contain_text("unknown service 'nothing'")
    page.goto(f"{services}?release=77")
    expect(page.get_by_role("alert")).to_contain_text("no rollout 77 in the ledger")


def test_without_the_token_the_command_answers_nothing(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(address.partition("?")[0], timeout=60)
    assert refused.value.code == 401


@pytest.mark.usefixtures("ledger")
def test_a_port_that_is_taken_is_named(address: str) -> None:
    port = re.findall(r":(\d+)/", address)[0]
    result = CliRunner().invoke(app, ["ui", "--port", port])
    assert result.exit_code == 2 and f"port {port}" in result.output and "--port" in result.output


@pytest.mark.usefixtures("ledger")
def test_what_is_missing_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkhead.cli.ui._NEEDS", ("fastapi", "no_such_package"))
    result = CliRunner().invoke(app, ["ui", "--port", str(free_port())])
    assert result.exit_code == 2
    assert "no_such_package" in result.output and "pip install 'bulkhead[ui]'" in result.output
