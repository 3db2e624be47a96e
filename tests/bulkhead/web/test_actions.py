"""What can be done about a release as it stands, and that doing it is what the words say."""

from pathlib import Path

import pytest

from bulkhead.commands import Commands
from bulkhead.errors import ConflictError, NotFoundError, UnsupportedError
from bulkhead.events import IntentKind
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.pods.identity import run_owner
from bulkhead.rollout.plan import Plan, Step
from bulkhead.settings import ServicePorts, Settings
from bulkhead.web.actions import Person, act, possible
from bulkhead.web.documents import ActionKind, ActionRequest, ApproveRequest, IsolateRequest
from tests.rollouts import advance, promote, request, revision

ADA = Person("ada", lambda _: True)
WHY = ActionRequest(reason="it leaks")


@pytest.fixture
def ledger(ledger_url: str) -> Ledger:
    return Ledger(ledger_url)


@pytest.fixture
def commands(ledger: Ledger, tmp_path: Path) -> Commands:
    services = {"digits": ServicePorts(port=19000, admin_port=19001)}
    return Commands(Settings(home=tmp_path, services=services), ledger)


def _possible(ledger: Ledger, rollout: Rollout) -> dict[ActionKind, str]:
    return {action.kind: action.words for action in possible(ledger.overview.rollout(rollout.id))}


def _act(commands: Commands, rollout: Rollout, kind: ActionKind, asked: ActionRequest = WHY, key: str = "k") -> int:
    return act(commands, commands.ledger.overview.rollout(rollout.id), kind, ADA, key, asked).release


def _waiting(ledger: Ledger) -> Rollout:
    steps = (Step(weight=50, approve=True), Step(weight=100))
    plan = Plan(steps=steps, step_s=0, min_requests=1).model_dump(mode="json")
    columns = revision("new").columns()
    rollout = ledger.rollouts.request(columns, plan, Request("w", "", "x"), owner=run_owner("release", "r"))
    return ledger.rollouts.transition(advance(ledger, rollout, Phase.ANALYSING), Phase.APPROVING, "approving", {})


def _back(ledger: Ledger, rollout: Rollout) -> Rollout:
    ledger.rollouts.abort(ledger.rollouts.get(rollout.id), "it fails", {"rule": "errors"})
    back = ledger.rollouts.get(rollout.id)
    for phase in (Phase.UNALIASING, Phase.DRAINING, Phase.ROLLED_BACK):
        back = ledger.rollouts.transition(back, phase, str(phase), {})
    return back


def test_a_release_that_waits_can_be_approved_and_goes_on(ledger: Ledger, commands: Commands) -> None:
    stable, waiting = promote(ledger, "old").revision_id, _waiting(ledger)
    assert list(_possible(ledger, waiting)) == [
        ActionKind.APPROVE,
        ActionKind.ROLL_BACK,
        ActionKind.PROMOTE,
        ActionKind.ISOLATE,
    ]
    assert _possible(ledger, waiting)[ActionKind.APPROVE] == "The release goes on from step 1; next: 100 %."
    assert stable in _possible(ledger, waiting)[ActionKind.ROLL_BACK]
    with pytest.raises(ConflictError, match="what was approved is step 2"):
        _act(commands, waiting, ActionKind.APPROVE, ApproveRequest(reason="looks good", step=2))
    assert _act(commands, waiting, ActionKind.APPROVE, ApproveRequest(reason="looks good", step=1)) == waiting.id
    assert ledger.approvals.approved(waiting)
    (approval,) = ledger.intents.of_kind(IntentKind.APPROVE)
    assert (approval.requested_by, approval.reason) == ("web: ada", "looks good")


def test_a_release_is_promoted_once_for_each_key_while_steps_are_left(ledger: Ledger, commands: Commands) -> None:
    promote(ledger, "old")
    waiting = _waiting(ledger)
    assert _possible(ledger, waiting)[ActionKind.PROMOTE].startswith(
        "The release goes from step 1 to the last one of its plan (100 %) at once"
    )
    for _ in range(3):
        assert _act(commands, waiting, ActionKind.PROMOTE) == waiting.id
    (promotion,) = ledger.intents.of_kind(IntentKind.PROMOTE)
    assert (promotion.requested_by, promotion.reason) == ("web: ada", "it leaks")
    last = advance(ledger, ledger.rollouts.transition(waiting, Phase.SHIFTING, "shifting", {}, step=1), Phase.ANALYSING)
    assert ActionKind.PROMOTE not in _possible(ledger, last)
    with pytest.raises(ConflictError, match="at the last step of its plan already"):
        _act(commands, last, ActionKind.PROMOTE, key="another")


def test_of_two_who_press_opposite_buttons_one_is_told_that_it_is_too_late(ledger: Ledger, commands: Commands) -> None:
    promote(ledger, "old")
    waiting = _waiting(ledger)
    seen = ledger.overview.rollout(waiting.id)  # by both
    act(commands, seen, ActionKind.ROLL_BACK, ADA, "k", WHY)
    with pytest.raises(ConflictError, match="waits for no approval"):
        act(commands, seen, ActionKind.APPROVE, Person("bob", ADA.may_edit), "k", ApproveRequest(reason="x", step=1))
    rollout = ledger.rollouts.get(waiting.id)
    assert (rollout.phase, rollout.reason, rollout.decision) == (Phase.RESTORING, "it leaks", {"by": "web: ada"})


def test_rolling_back_what_is_in_progress_is_done_once_for_each_key(ledger: Ledger, commands: Commands) -> None:
    promote(ledger, "old")
    going = advance(ledger, request(ledger, "new"), Phase.ANALYSING)
    for _ in range(3):
        assert _act(commands, going, ActionKind.ROLL_BACK) == going.id
    assert len(ledger.intents.of_kind(IntentKind.ROLLBACK)) == 1
    _back_again = ledger.overview.rollout(going.id)
    assert ActionKind.ROLL_BACK not in [action.kind for action in possible(_back_again)]
    with pytest.raises(ConflictError, match="nothing was changed"):
        _act(commands, going, ActionKind.ROLL_BACK, key="another")


def test_a_first_release_has_nothing_to_return_to(ledger: Ledger, commands: Commands) -> None:
    first = request(ledger, "new")
    assert "none serves then" in _possible(ledger, first)[ActionKind.ROLL_BACK]
    promoted = advance(ledger, first, Phase.PROMOTED)
    assert ActionKind.ROLL_BACK not in _possible(ledger, promoted)
    with pytest.raises(ConflictError, match="nothing was changed"):
        _act(commands, promoted, ActionKind.ROLL_BACK)
    assert ledger.intents.of_kind(IntentKind.ROLLBACK) == []


def test_what_serves_is_left_for_the_revision_before_by_a_release_of_its_own(
    ledger: Ledger, commands: Commands
) -> None:
    old, new = promote(ledger, "old"), promote(ledger, "new")
    assert old.revision_id in _possible(ledger, new)[ActionKind.ROLL_BACK]
    returning = _act(commands, new, ActionKind.ROLL_BACK)
    assert returning not in (old.id, new.id)
    advance(ledger, ledger.rollouts.get(returning), Phase.PROMOTED)
    assert ledger.services.get("digits").stable_revision == old.revision_id
    assert _act(commands, new, ActionKind.ROLL_BACK) == returning  # the same request, come again


def test_what_served_before_can_be_given_the_traffic_again(ledger: Ledger, commands: Commands) -> None:
    old, new = promote(ledger, "old"), promote(ledger, "new")
    assert ActionKind.RETURN in _possible(ledger, old) and ActionKind.RETURN not in _possible(ledger, new)
    bad = _back(ledger, advance(ledger, request(ledger, "bad"), Phase.ANALYSING))
    assert ActionKind.RETURN not in _possible(ledger, bad), "it never had all of the traffic"
    back = ledger.rollouts.get(_act(commands, old, ActionKind.RETURN))
    assert (back.revision_id, back.owner) == (old.revision_id, "web: ada")
    assert _act(commands, old, ActionKind.RETURN) == back.id
    assert ActionKind.RETURN not in _possible(ledger, old), "something is in progress"


def test_a_revision_is_isolated_by_levels_and_released(ledger: Ledger, commands: Commands) -> None:
    promote(ledger, "old")
    bad = _back(ledger, advance(ledger, request(ledger, "bad"), Phase.ANALYSING))
    assert list(_possible(ledger, bad)) == [ActionKind.ISOLATE]
    asked = IsolateRequest(reason="it leaks", levels=[IsolationLevel.POD])
    assert _act(commands, bad, ActionKind.ISOLATE, asked) == bad.id
    view = ledger.overview.rollout(bad.id)
    assert [isolation.level for isolation in view.isolations] == [IsolationLevel.TRAFFIC, IsolationLevel.POD]
    offered = {action.kind: [choice.level for choice in action.levels] for action in possible(view)}
    assert list(offered) == [ActionKind.ISOLATE, ActionKind.UNISOLATE]
    assert set(offered[ActionKind.ISOLATE]) == set(IsolationLevel) - {IsolationLevel.TRAFFIC, IsolationLevel.POD}
    network = IsolateRequest(reason="it leaks", levels=[IsolationLevel.NETWORK])
    with pytest.raises(UnsupportedError, match="share its network"):
        _act(commands, bad, ActionKind.ISOLATE, network, key="another")
    _act(commands, bad, ActionKind.UNISOLATE)
    assert ledger.overview.rollout(bad.id).isolations == []


def test_an_action_says_whose_permission_it_wants(ledger: Ledger) -> None:
    by_hand = request(ledger, "by-hand", owner="cli: root")
    assert ledger.overview.rollout(by_hand.id).releaser is None
    _back(ledger, by_hand)
    of_dag = _back(ledger, request(ledger, "dag", owner=run_owner("train_%", "r")))
    returning = request(ledger, "again", owner="web: ada")
    owners = [ledger.overview.rollout(one.id).releaser for one in (by_hand, of_dag, returning)]
    assert owners == [None, run_owner("train_%", "r"), run_owner("train_%", "r")]
    other = request(ledger, "x", service="words", owner="cli: root")
    assert ledger.overview.rollout(other.id).releaser is None


def test_what_is_recorded_counts_where_nobody_can_be_woken(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, where a folder should be")
    going = request(ledger, "new")
    assert _act(Commands(Settings(home=tmp_path / "home"), ledger), going, ActionKind.ROLL_BACK) == going.id


def test_a_release_that_does_not_exist_is_named(commands: Commands) -> None:
    with pytest.raises(NotFoundError, match="77"):
        commands.ledger.overview.rollout(77)
