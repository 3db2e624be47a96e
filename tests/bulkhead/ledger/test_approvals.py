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


def test_an_unknown_rollout_is_named(ledger: Ledger) -> None:
    with pytest.raises(NotFoundError, match="no rollout 7 in the ledger"):
        ledger.approvals.approve(7, Request("b", "", "ada"))
