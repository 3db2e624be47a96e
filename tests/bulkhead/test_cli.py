"""The command line over a real ledger and a real Envoy; ``tests/e2e`` has it beside a stopped Airflow."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text as sql
from typer.testing import CliRunner

from bulkhead.cli import app
from bulkhead.cli.status import split
from bulkhead.control import Control
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.pods.spec import PodRequest, build
from bulkhead.rollout.plan import Plan
from bulkhead.settings import CONFIG_VARIABLE, ServicePorts, Settings
from bulkhead.text import bounded
from tests.fixtures.runtime import end_pods
from tests.hostile import NASTY
from tests.ports import free_port
from tests.rollouts import advance, promote, request, revision
from tests.servers import get
from tests.waiting import until

runner = CliRunner()


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    ports = ServicePorts(port=free_port(), admin_port=free_port())
    settings = Settings(home=tmp_path / "home", services={"digits": ports})
    (tmp_path / "config.yaml").write_text(settings.model_dump_json())
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config.yaml"))
    made = Control(settings)
    yield made
    end_pods(made.runtime)


def test_status_shows_services_and_rollouts(control: Control) -> None:
    first = promote(control.ledger, "a")
    rollout = request(control.ledger, "b", owner="airflow:release/run")
    control.ledger.rollouts.abort(
        rollout, "at 50 % of the traffic " + "63 of 212 (29.7%) requests failed " * 4, {"by": "ada"}
    )
    out = runner.invoke(app, ["status"]).output
    assert "Its traffic is not known: service 'digits' has no router yet" in out
    assert f"Release of revision {rollout.revision_id} to service digits, asked for by a test" in out
    assert "Rolling back, asked for by ada: at 50 % of the traffic 63 of 212" in out
    assert f"Promoted: revision {first.revision_id} serves all of the traffic of service digits." in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_split_is_shown_as_bars() -> None:
    lines = [one.plain for one in split({"digits-a": 89, "digits-bb": 1, "digits-c": 10}, "digits-a", "digits-bb")]
    assert lines == [
        f"  digits-a   {'█' * 36}{'░' * 4}  89 %  stable",
        f"  digits-bb  {'█' * 1}{'░' * 39}   1 %  candidate",
        f"  digits-c   {'█' * 4}{'░' * 36}  10 %",
    ]
    longest = "s" * 63 + "-12345678"
    assert max(len(one.plain) for one in split({longest: 100}, None, longest)) <= 100
    assert [one.plain for one in split({}, None, "digits-a")] == [f"  digits-a  {'░' * 40}   0 %  candidate"]


def test_status_for_programs(control: Control) -> None:
    first = promote(control.ledger, "a")
    document = json.loads(runner.invoke(app, ["status", "--json"]).output)
    assert document["services"][0]["stable"] == first.revision_id
    assert document["rollouts"][0]["phase"] == "promoted"


def test_status_of_a_new_ledger(control: Control) -> None:
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 0 and "Nothing was released yet" in result.output


@pytest.mark.parametrize("text", NASTY)
def test_status_shows_any_text_as_it_is(control: Control, text: str) -> None:
    rollout = request(control.ledger, "a")
    control.ledger.rollouts.request_rollback(Request("k", text, text), rollout_id=rollout.id)
    control.ledger.events.record("digits", "failing", {"for": "its rollout", "why": text})
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 0, result.output
    document = json.loads(runner.invoke(app, ["status", "--json"]).output)
    assert document["services"][0]["failing"] == f"its rollout: {bounded(text)}"
    assert "\x1b" not in result.output and "\x00" not in result.output


def test_status_shows_what_there_is_where_a_router_or_a_plan_cannot_be_read(control: Control) -> None:
    rollout = request(control.ledger, "a")
    request(control.ledger, "b", service="letters", owner="x")
    with control.ledger.engine.begin() as connection:
        connection.execute(sql("UPDATE rollouts SET plan = '{\"steps\": 7}' WHERE id = :id"), {"id": rollout.id})
    document = json.loads(runner.invoke(app, ["status", "--json"]).output)
    assert [service["service"] for service in document["services"]] == ["digits", "letters"]
    assert document["services"][1]["traffic"].startswith("unknown service 'letters'")
    assert [one["weight"] for one in document["rollouts"]] == [50, None]


@pytest.mark.parametrize("command", [["status", "letters"], ["rollback", "letters"]])
def test_an_unknown_service_is_one_sentence_and_exit_code_2(control: Control, command: list[str]) -> None:
    promote(control.ledger, "a")
    result = runner.invoke(app, command)
    assert result.exit_code == 2
    assert result.stderr == "error: unknown service 'letters'; services in the ledger: digits\n"


def test_a_configuration_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/nowhere/config.yaml")
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 2 and "no such file" in result.stderr


def test_a_damaged_ledger_is_one_sentence_with_the_remedy(control: Control) -> None:
    control.settings.home.mkdir()
    (control.settings.home / "ledger.db").write_bytes(b"no database" * 1000)
    result = runner.invoke(app, ["rollback", "digits"])
    assert result.exit_code == 2 and "is damaged" in result.stderr and "restore a backup" in result.stderr


def test_a_rollback_that_cannot_be_carried_out_now_is_recorded_and_says_so(control: Control) -> None:
    rollout = request(control.ledger, "a")
    result = runner.invoke(app, ["rollback", "digits", "--wait-s", "1"])
    assert result.exit_code == 2
    assert f"rollout {rollout.id} has not ended after 1 s; see 'bulkhead status'" in result.stderr
    assert control.ledger.rollouts.get(rollout.id).phase == "restoring"


def test_reconcile_once_and_reconcile_until_told_to_stop(control: Control) -> None:
    assert runner.invoke(app, ["reconcile"]).exit_code == 0
    command = [str(Path(sys.executable).with_name("bulkhead")), "reconcile", "--watch"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until(lambda: (control.settings.home / "wake").exists(), "the watch")
    assert watching.poll() is None
    watching.send_signal(signal.SIGTERM)
    assert watching.wait(240) == 0


def test_isolate_unisolate_and_roll_back_to(control: Control) -> None:
    first, second = promote(control.ledger, "a"), promote(control.ledger, "b")
    name = second.revision_id
    result = runner.invoke(app, ["isolate", name, "--reason", "it answers NaN", "--wait-s", "1"])
    assert f"recorded: revision {name} is isolated" in result.output
    (row,) = json.loads(runner.invoke(app, ["status", "--json"]).output)["isolated"]
    assert (row["revision"], row["reason"]) == (name, "it answers NaN")
    assert "Isolated revisions" in runner.invoke(app, ["status"]).output
    assert control.ledger.rollouts.latest()[0].revision_id == first.revision_id, "the way back was asked for"
    refused = runner.invoke(app, ["rollback", "digits", "--to", name])
    assert refused.exit_code == 2 and "it answers NaN" in refused.stderr
    assert "may have traffic again" in runner.invoke(app, ["unisolate", name, "--reason", "mended"]).output
    assert control.ledger.isolations.in_force() == []


def test_the_word_of_before_does_the_same_and_says_that_it_is_old(control: Control) -> None:
    promote(control.ledger, "a")
    name = promote(control.ledger, "b").revision_id
    control.ledger.isolations.isolate(name, Request("i", "it answers NaN", "a test"), levels=[IsolationLevel.TRAFFIC])
    old = runner.invoke(app, ["release", name, "--reason", "mended"])
    assert "may have traffic again" in old.output and "deprecated" in old.stderr
    assert control.ledger.isolations.in_force() == []
    assert not re.search(r"^\W*release ", runner.invoke(app, ["--help"]).output, re.MULTILINE)


def test_a_service_is_not_rolled_back_to_a_revision_of_another(control: Control) -> None:
    name = promote(control.ledger, "a").revision_id
    refused = runner.invoke(app, ["rollback", "letters", "--to", name])
    assert refused.exit_code == 2 and f"--to = '{name}': it is a revision of service 'digits'" in refused.stderr


def test_it_is_isolated_as_far_as_is_said_and_not_further_than_can_be(control: Control) -> None:
    promote(control.ledger, "a")
    name = promote(control.ledger, "b").revision_id
    asked = ["isolate", name, "--reason", "look at it", "--wait-s", "1", "--level"]
    refused = runner.invoke(app, [*asked, "network"])
    assert refused.exit_code == 2 and "levels = 'network': processes of one machine share its network" in refused.stderr
    assert control.ledger.isolations.in_force() == []
    runner.invoke(app, [*asked, "pod"])
    assert [str(isolation.level) for isolation in control.ledger.isolations.levels(name)] == ["traffic", "pod"]


def test_a_rollout_that_waits_for_a_person_is_approved(control: Control) -> None:
    promote(control.ledger, "a")
    nothing = runner.invoke(app, ["approve", "digits"])
    assert nothing.exit_code == 2 and "service 'digits' has no rollout in progress" in nothing.stderr
    rollout = request(control.ledger, "b")
    early = runner.invoke(app, ["approve", "digits"])
    assert early.exit_code == 2 and "is requested: it waits for no approval" in early.stderr
    waiting = control.ledger.rollouts.transition(rollout, Phase.APPROVING, "approving", {})
    result = runner.invoke(app, ["approve", "digits", "--reason", "looks well"])
    assert f"recorded: rollout {rollout.id} may go on from step 1" in result.output
    assert control.ledger.approvals.approved(waiting)


def test_a_rollout_is_promoted_from_a_step_that_is_not_its_last(control: Control) -> None:
    old = promote(control.ledger, "a").revision_id
    given = runner.invoke(app, ["promote", old])
    assert given.exit_code == 2 and f"'bulkhead rollback digits --to {old}'" in given.stderr
    nothing = runner.invoke(app, ["promote", "digits"])
    assert nothing.exit_code == 2 and "service 'digits' has no rollout in progress" in nothing.stderr
    plan = Plan(steps=(10, 50, 100)).model_dump(mode="json")
    columns, asked = revision("b").columns(), Request("b", "", "a test")
    rollout = advance(control.ledger, control.ledger.rollouts.request(columns, plan, asked, owner="o"), Phase.ANALYSING)
    result = runner.invoke(app, ["promote", "digits", "--reason", "it is urgent"])
    assert f"recorded: rollout {rollout.id} goes from step 1 to its last one" in result.output
    assert control.ledger.approvals.promoted(rollout)
    assert control.ledger.intents.of_kind("promote")[0].reason == "it is urgent"


def test_collect_ends_what_no_task_waits_for(control: Control) -> None:
    command = ["python", "-c", "import time; time.sleep(60)"]
    control.runtime.launch(build(PodRequest(name="train-1", image="none", command=command)))
    known = {"dag_id": "d", "run_id": "r", "task_id": "train", "map_index": -1}
    access = {"local_root": str(control.runtime.layout.root)}
    control.ledger.launches.record(access, "default", "train-1", owner="airflow:d/r", instance="i", task=known)
    assert json.loads(runner.invoke(app, ["collect", "--json"]).output) == {"pods": [], "orphans": []}
    control.ledger.launches.end_run("airflow:d/r", "its DAG run has ended")
    (row,) = json.loads(runner.invoke(app, ["collect", "--json"]).output)["pods"]
    assert row == {"pod": "default/train-1", "done": True, "what": "told to end", "reason": "its DAG run has ended"}
    assert control.runtime.status("train-1").ended
    assert "nothing yet" in runner.invoke(app, ["collect"]).output


def test_the_router_runs_in_the_foreground_with_the_split_it_had(control: Control) -> None:
    command = [str(Path(sys.executable).with_name("bulkhead")), "router", "digits"]
    envoy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    port = control.settings.services["digits"].port

    def answers() -> bool:
        assert envoy.poll() is None
        try:
            return get(port)[0] == 503
        except OSError:
            return False

    until(answers, "Envoy")
    result = runner.invoke(app, ["router", "digits"])
    assert result.exit_code == 2 and "the port is in use" in result.stderr
    envoy.terminate()
    assert envoy.wait(240) == 0


def test_the_help_names_the_commands() -> None:
    out = runner.invoke(app, ["--help"]).output
    for command in (
        "demo",
        "status",
        "rollback",
        "reconcile",
        "collect",
        "doctor",
        "approve",
        "promote",
        "isolate",
        "unisolate",
        "router",
    ):
        assert command in out
