"""Every test here runs on SQLite and on PostgreSQL."""

import pytest

from bulkhead.errors import ConflictError, NotFoundError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.rollout.plan import Plan
from tests.rollouts import advance, revision

ASKS = Plan(steps=({"weight": 10, "approve": True}, {"weight": 50, "approve": True}, 100))  # type: ignore[arg-type]


@pytest.fixture
def waiting(ledger: Ledger) -> Rollout:
    plan = ASKS.model_dump(mode="json")
    rollout = ledger.rollouts.request(revision("a").columns(), plan, Request("k", "", "a test"), owner="o")
    return advance(ledger, rollout, Phase.APPROVING)


def test_an_approval_counts_for_the_step_at_which_it_was_given(ledger: Ledger, waiting: Rollout) -> None:
    assert not ledger.approvals.approved(waiting)
    ledger.approvals.approve(waiting.id, Request("a", "looks well", "ada"))
    assert ledger.approvals.approved(waiting)
    assert ledger.events.select(waiting.id, "approved")[0].data == {"step": 0, "by": "ada", "reason": "looks well"}
    shifting = ledger.rollouts.transition(waiting, Phase.SHIFTING, "shifting", {}, step=1)
    assert not ledger.approvals.approved(advance(ledger, shifting, Phase.APPROVING))


def test_the_same_wish_counts_once_also_when_it_comes_late(ledger: Ledger, waiting: Rollout) -> None:
    ledger.approvals.approve(waiting.id, Request("a", "", "ada"))
    ledger.approvals.approve(waiting.id, Request("a", "", "ada"))
    advance(ledger, waiting, Phase.PROMOTED)
    assert ledger.approvals.approve(waiting.id, Request("a", "", "ada")).phase is Phase.PROMOTED
    assert len(ledger.intents.of_kind("approve")) == 1


def test_what_waits_for_nobody_cannot_be_approved(ledger: Ledger, waiting: Rollout) -> None:
    advance(ledger, waiting, Phase.PROMOTED)
    with pytest.raises(ConflictError, match="is promoted: it waits for no approval"):
        ledger.approvals.approve(waiting.id, Request("b", "", "ada"))
    assert ledger.intents.of_kind("approve") == []


@pytest.mark.parametrize("phase", [Phase.ANALYSING, Phase.APPROVING])
def test_a_promotion_counts_at_whichever_step_the_rollout_is(ledger: Ledger, waiting: Rollout, phase: Phase) -> None:
    at_step = ledger.rollouts.transition(waiting, phase, str(phase), {})
    assert not ledger.approvals.promoted(at_step)
    for _ in range(2):  # the same wish, come again
        ledger.approvals.promote(waiting.id, Request("p", "it is urgent", "ada"))
    assert len(ledger.intents.of_kind("promote")) == 1
    assert ledger.events.select(waiting.id, "skipping")[0].data == {"step": 0, "by": "ada", "reason": "it is urgent"}
    shifting = ledger.rollouts.transition(at_step, Phase.SHIFTING, "shifting", {}, step=1)
    assert ledger.approvals.promoted(advance(ledger, shifting, Phase.ANALYSING)), "the reconciler had just moved it on"
    assert not ledger.approvals.approved(waiting), "a step that asks for a person still does"


@pytest.mark.parametrize(
    ("phase", "step", "says"),
    [
        (Phase.LAUNCHED, 0, "is launched: only one that is at a step of its plan can skip the others"),
        (Phase.BAKING, 2, "is baking: only one that is at a step"),
        (Phase.RESTORING, 0, "is restoring: only one that is at a step"),
        (Phase.ANALYSING, 2, "is at the last step of its plan already"),
    ],
)
def test_what_has_no_step_to_skip_is_not_promoted(
    ledger: Ledger, waiting: Rollout, phase: Phase, step: int, says: str
) -> None:
    ledger.rollouts.transition(waiting, phase, str(phase), {}, step=step)
    with pytest.raises(ConflictError, match=says):
        ledger.approvals.promote(waiting.id, Request("p", "", "ada"))
    assert ledger.intents.of_kind("promote") == [] and ledger.events.select(waiting.id, "skipping") == []


def test_an_unknown_rollout_is_named(ledger: Ledger) -> None:
    for ask in (ledger.approvals.approve, ledger.approvals.promote):
        with pytest.raises(NotFoundError, match="no rollout 7 in the ledger"):
            ask(7, Request("b", "", "ada"))
