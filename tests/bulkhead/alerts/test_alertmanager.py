"""What alerts ask for, over a real ledger."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.alerts.alertmanager import Alert, Responder, parse_alerts
from bulkhead.control import Control
from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.ledger.tables import Intent, Phase
from tests.rollouts import advance, promote, request


@pytest.fixture
def responder(control: Control) -> Responder:
    return Responder(control)


def alert(started: str = "2026-11-25T10:00:00Z", status: str = "firing", **labels: str) -> Alert:
    """An alert as Alertmanager posts it."""
    document = {
        "status": status,
        "labels": {"alertname": "HighErrorRate", **{f"bulkhead_{name}": value for name, value in labels.items()}},
        "annotations": {"summary": "every second request fails"},
        "startsAt": started,
        "fingerprint": "c0ffee",
    }
    return parse_alerts({"version": "4", "alerts": [document]})[0]


def test_a_release_in_progress_is_rolled_back_with_the_alert_as_its_reason(
    control: Control, responder: Responder
) -> None:
    rollout = request(control.ledger, "new")
    assert responder.respond(alert(service="digits")) == f"rolled back: {rollout.revision_id}"
    now = control.ledger.rollouts.get(rollout.id)
    assert (now.phase, now.reason) == (Phase.RESTORING, "alert HighErrorRate: every second request fails")


def test_one_that_has_just_become_stable_gives_way_once_however_often_it_is_told(
    control: Control, responder: Responder
) -> None:
    old, new = promote(control.ledger, "old"), promote(control.ledger, "new")
    assert responder.respond(alert(service="digits")) == f"rolled back: {new.revision_id}"
    for _ in range(3):
        assert responder.respond(alert(service="digits")) == "done before"
    back = control.ledger.rollouts.active_of("digits")
    assert back is not None and (back.revision_id, back.phase) == (old.revision_id, Phase.REQUESTED)


def test_one_that_has_been_stable_for_long_is_left_alone(control: Control) -> None:
    promote(control.ledger, "old")
    new = promote(control.ledger, "new")
    responder = Responder(control, lambda: datetime.now(UTC) + timedelta(hours=2))
    assert responder.respond(alert(service="digits")).startswith(
        f"ignored: revision {new.revision_id} was released 2:00:00 ago"
    )
    assert control.ledger.rollouts.active_of("digits") is None
    assert responder.respond(alert(service="digits", within="3h")) == f"rolled back: {new.revision_id}"


def test_one_that_was_only_returned_to_is_as_old_as_its_release(control: Control, responder: Responder) -> None:
    old, new = promote(control.ledger, "old"), promote(control.ledger, "new")
    responder.respond(alert(service="digits"))
    back = control.ledger.rollouts.active_of("digits")
    assert back is not None
    advance(control.ledger, back, Phase.PROMOTED)
    later = Responder(control, lambda: datetime.now(UTC) + timedelta(hours=2))
    message = later.respond(alert(service="digits", started="2026-11-25T12:00:00Z"))
    assert message.startswith(f"ignored: revision {old.revision_id} was released") and new.revision_id not in message


def test_an_alert_may_isolate(control: Control, responder: Responder) -> None:
    promote(control.ledger, "old")
    new = promote(control.ledger, "new")
    assert responder.respond(alert(service="digits", action="isolate")) == f"isolated: {new.revision_id}"
    assert control.ledger.isolations.get(new.revision_id) is not None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "ignored: it has no label bulkhead_service"),
        ({"service": "digits", "status": "resolved"}, "ignored: it is resolved"),
        ({"service": "digits", "revision": "digits-0"}, "ignored: digits-0 has no traffic of digits"),
        ({"service": "words"}, "refused: unknown service 'words'"),
        ({"service": "digits", "action": "delete"}, "refused: labels.bulkhead_action = 'delete': give roll-back or"),
        ({"service": "digits", "within": "soon"}, "refused: labels.bulkhead_within = 'soon': give a number with"),
    ],
)
def test_what_is_not_meant_or_wrong_changes_nothing_and_is_told(
    control: Control, responder: Responder, labels: dict[str, str], message: str
) -> None:
    rollout = request(control.ledger, "new")
    status = labels.pop("status", "firing")
    assert responder.respond(alert(status=status, **labels)).startswith(message)
    assert control.ledger.rollouts.get(rollout.id).phase is Phase.REQUESTED


def test_nowhere_to_go_is_told(control: Control, responder: Responder) -> None:
    promote(control.ledger, "only")
    assert "has no earlier revision" in responder.respond(alert(service="digits"))


def test_a_ledger_that_is_away_is_the_callers_to_hear(
    control: Control, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Intent | None:
        raise UnavailableError("the ledger does not answer")

    monkeypatch.setattr(type(control.ledger.intents), "find", away)
    with pytest.raises(UnavailableError):
        responder.respond(alert(service="digits"))


json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["version", "alerts", "x"]), inner),
    max_leaves=8,
)


@given(json)
def test_anything_else_is_refused_by_name(document: Any) -> None:
    try:
        assert parse_alerts(document) == []
    except InvalidInputError as error:
        assert str(error).startswith("alertmanager")
