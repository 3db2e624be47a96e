from datetime import UTC, datetime, timedelta

from bulkhead.control import Control
from bulkhead.operators.rollout_log import log_events
from tests.rollouts import request


def _logged(control: Control, rollout_id: int, after: int, later: timedelta = timedelta(0)) -> tuple[list[str], int]:
    written: list[str] = []
    last = log_events(
        lambda form, *words: written.append(form % words),
        control.ledger,
        rollout_id,
        after,
        lambda: datetime.now(UTC) + later,
    )
    return written, last


def test_each_event_is_logged_once(control: Control) -> None:
    rollout = request(control.ledger, "a")
    written, last = _logged(control, rollout.id, 0)
    assert len(written) == 1 and written[0].startswith("Release of revision digits-")
    assert _logged(control, rollout.id, last) == ([], last)
    control.ledger.events.append(rollout, "waiting", {"for": "Envoy is at 100 % of a core"})
    written, later = _logged(control, rollout.id, last)
    assert written == ["It waits: Envoy is at 100 % of a core."] and later > last


def test_what_is_logged_late_says_when_it_was(control: Control) -> None:
    rollout = request(control.ledger, "a")
    (event,) = control.ledger.events.select(rollout.id)
    written, _ = _logged(control, rollout.id, 0, timedelta(minutes=1))
    assert written[0].startswith(f"At {event.at:%H:%M:%S} UTC: Release of revision")


def test_the_events_of_other_rollouts_are_not_logged(control: Control) -> None:
    rollout = request(control.ledger, "a")
    other = request(control.ledger, "b", service="letters")
    assert len(_logged(control, rollout.id, 0)[0]) == len(_logged(control, other.id, 0)[0]) == 1
